"""The bounded reader of segmentations: what the child says of one, checked.

The one rule: what the child answers is a message from a stranger, and may name no structure that is
not in the table. How it is kept within bounds is `parsing`'s business.
"""

from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from hospital_node.imaging.parsing import Bounds, Parser
from hospital_node.imaging.report_child import Document
from hospital_node.imaging.segmentation import Outlined, OutlineFault, SegOutlines, Unusable

MAX_OUTLINE_BYTES = 64 * 1024**2
"""Twice what the most voxels that are read take at one bit each."""

_BOUNDS = Bounds(memory_bytes=2 * 1024**3, time_s=20.0)
"""As for images: a frame at a time is decoded."""

_VERDICT: TypeAdapter[Outlined | Unusable] = TypeAdapter(
    Annotated[Outlined | Unusable, Field(discriminator="kind")]
)


class OutlineReader(Parser):
    """Reads one segmentation after another in a child process; use as a context manager."""

    def __init__(self, table: SegOutlines) -> None:
        super().__init__(Document.OUTLINES, table, _BOUNDS)
        self._names = {one.name for one in table.structures}

    def read(self, content: bytes) -> Outlined | Unusable:
        """What a segmentation of this content outlines, or why nothing.

        Raises:
            ScanError: no child can be started; no file is to blame.
        """
        if not 0 < len(content) <= MAX_OUTLINE_BYTES:
            return Unusable(fault=OutlineFault.TOO_LARGE if content else OutlineFault.UNREADABLE)
        return self.verdict(content, self._parse) or Unusable(fault=OutlineFault.READER_DIED)

    def _parse(self, answer: bytes) -> Outlined | Unusable | None:
        """A verdict; none where the child says what it cannot know."""
        try:
            verdict = _VERDICT.validate_json(answer)
        except ValidationError:
            return None
        is_strange = isinstance(verdict, Outlined) and not verdict.segments.keys() <= self._names
        return None if is_strange else verdict
