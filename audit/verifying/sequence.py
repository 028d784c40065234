"""Each producer's own numbering: whether anything it said is missing, repeated or re-written.

The one rule: `seq` grows by one from 0 and `prev` is the leaf hash of the producer's entry before.
A clock that steps back is a remark and no fault: it happens to honest machines.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from audit.entry import Entry
from audit.verifying.findings import Fault, Finding


@dataclass(slots=True)
class _Last:
    seq: int = -1
    leaf: str = ""
    time_us: int = 0


@dataclass(slots=True)
class Sequences:
    """The state of every producer's numbering, entry by entry."""

    remarks: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    _last: dict[str, _Last] = field(default_factory=dict)
    _ids: set[str] = field(default_factory=set)

    def see(self, index: int, entry: Entry, leaf: bytes) -> Iterator[Finding]:
        """The faults in the numbering that entry `index` shows."""
        self.counts[entry.producer] = self.counts.get(entry.producer, 0) + 1
        last = self._last.setdefault(entry.producer, _Last())
        if entry.event_id in self._ids:
            yield _fault(index, f"event id {entry.event_id} occurs twice")
        if entry.seq != last.seq + 1:
            yield _fault(index, f"{entry.producer} numbers it {entry.seq}; expected {last.seq + 1}")
        elif entry.prev != last.leaf:
            yield _fault(
                index, f"{entry.producer} names another previous entry than the one in this log"
            )
        if entry.time_us < last.time_us:
            late_ms = (last.time_us - entry.time_us) // 1000
            self.remarks.append(
                f"entry {index}: the clock of {entry.producer} stepped back by {late_ms} ms"
            )
        self._ids.add(entry.event_id)
        self._last[entry.producer] = _Last(entry.seq, leaf.hex(), entry.time_us)


def _fault(index: int, explanation: str) -> Finding:
    return Finding(Fault.SEQUENCE, explanation, index)
