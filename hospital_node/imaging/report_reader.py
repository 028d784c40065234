"""The bounded reader of reports: what the child says of one, checked.

The one rule: what the child answers is a message from a stranger, and may hold no label that is not
in the table. How it is kept within bounds is `parsing`'s business.
"""

from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from hospital_node.imaging.labels_sr import Refused, ReportFault, Said, SrLabels
from hospital_node.imaging.parsing import Bounds, Parser
from hospital_node.imaging.report_child import Document

MAX_REPORT_BYTES = 16 * 1024**2
"""Reports are text and codes; a hundred times what a long one has."""

_BOUNDS = Bounds(memory_bytes=768 * 1024**2, time_s=10.0)

_VERDICT: TypeAdapter[Said | Refused] = TypeAdapter(
    Annotated[Said | Refused, Field(discriminator="kind")]
)


class ReportReader(Parser):
    """Reads one report after another in a child process; use as a context manager."""

    def __init__(self, table: SrLabels) -> None:
        super().__init__(Document.REPORTS, table, _BOUNDS)
        self._known = {(rule.column, rule.label) for rule in table.labels}

    def read(self, content: bytes) -> Said | Refused:
        """What a report of this content says, or why it gives no label.

        Raises:
            ScanError: no child can be started; no file is to blame.
        """
        if not 0 < len(content) <= MAX_REPORT_BYTES:
            return Refused(fault=ReportFault.TOO_LARGE if content else ReportFault.UNREADABLE)
        return self.verdict(content, self._parse) or Refused(fault=ReportFault.READER_DIED)

    def _parse(self, answer: bytes) -> Said | Refused | None:
        """A verdict; none where the child says what it cannot know."""
        try:
            verdict = _VERDICT.validate_json(answer)
        except ValidationError:
            return None
        if isinstance(verdict, Said) and not all(
            one.labels.items() <= self._known for one in verdict.labellings
        ):
            return None
        return verdict
