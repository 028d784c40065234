"""The bounded reader of segmentations: what the child says of one, checked.

The one rule: what the child answers is a message from a stranger, and may name no structure that is
not in the table. How it is kept within bounds is `parsing`'s business.
"""

from types import TracebackType
from typing import Annotated, Self

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


class OutlineReader:
    """Reads one segmentation after another in a child process; use as a context manager."""

    def __init__(self, table: SegOutlines) -> None:
        self._names = {one.name for one in table.structures}
        self._parser = Parser(Document.OUTLINES, table, _BOUNDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._parser.stop()

    def read(self, content: bytes) -> Outlined | Unusable:
        """What a segmentation of this content outlines, or why nothing.

        Raises:
            ScanError: no child can be started; no file is to blame.
        """
        if not 0 < len(content) <= MAX_OUTLINE_BYTES:
            return Unusable(fault=OutlineFault.TOO_LARGE if content else OutlineFault.UNREADABLE)
        answer = self._parser.ask(content)
        verdict = None if answer is None else self._parse(answer)
        if verdict is None:
            self._parser.stop()
            return Unusable(fault=OutlineFault.READER_DIED)
        return verdict

    def _parse(self, answer: bytes) -> Outlined | Unusable | None:
        """A verdict; none where the child says what it cannot know."""
        try:
            verdict = _VERDICT.validate_json(answer)
        except ValidationError:
            return None
        is_strange = isinstance(verdict, Outlined) and not verdict.segments.keys() <= self._names
        return None if is_strange else verdict
