"""Findings for people: what each kind means, and what to do about it.

The one rule: advice says whom to ask and what to compare; it judges nobody.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from audit.desk.answers.findings import FindingShape


@dataclass(frozen=True, slots=True)
class Advice:
    """What a kind of finding is called, means, and asks for."""

    title: str
    meaning: str
    action: str


@dataclass(frozen=True, slots=True)
class Group:
    """The findings of one kind."""

    kind: str
    is_fault: bool
    advice: Advice
    findings: tuple[FindingShape, ...]


ADVICE: dict[str, Advice] = {
    "fork": Advice(
        "Fork",
        "Two checkpoints under the log’s signature cannot both be true, or a witness holds one "
        "that this database cannot account for. Somebody was shown another history.",
        "Keep both checkpoints. Stop relying on new entries until the operator of the log has "
        "explained which history is true; ask each witness for the last checkpoint that it saw.",
    ),
    "gap": Advice(
        "Gap",
        "A producer numbers its entries, and some numbers are not in the log.",
        "Ask the producer for the missing entries; it keeps a signed copy of each. If it has them "
        "and their receipts, the log failed to take them.",
    ),
    "anomaly": Advice(
        "Reported anomaly",
        "A party reported something that does not happen among honest parties.",
        "Read the entry, then ask the party that signed it for what it kept.",
    ),
    "overdue-receipt": Advice(
        "Overdue receipt",
        "The log promised in writing to include an entry by a deadline, and had not.",
        "The signed receipt is evidence against the log. Ask the producer for it, and the operator "
        "of the log for the reason.",
    ),
    "refused-access": Advice(
        "Refused access",
        "Somebody was turned away at this desk: a wrong, expired or revoked key, or a role that "
        "does not go so far.",
        "Single ones are mistypings. Many from one source are worth a look at who holds keys.",
    ),
    "unanswered-opening": Advice(
        "Round without an end",
        "A round’s deadline has passed, and it was neither closed nor abandoned.",
        "Ask the centre how its run stands. What hospitals sent for it has been charged.",
    ),
    "late": Advice(
        "Late entries",
        "An entry is dated long before others that stand before it. An outbox that could not "
        "reach the log does this, and so does backdating.",
        "Compare with the producer’s other entries around it; its own numbering shows its order.",
    ),
    "clock": Advice(
        "Clock",
        "A producer’s clock stepped back, or was far from the log’s.",
        "The order of its entries stands by their numbers. Have its time synchronisation checked.",
    ),
    "override": Advice(
        "Override",
        "A person decided otherwise than the system. This is allowed, and meant to be seen.",
        "Read the entry and the one it names, and whether the ground given fits.",
    ),
}

_UNKNOWN = Advice("Other", "Something asks for attention.", "Read the entries it names.")


def groups_of(found: Iterable[FindingShape]) -> tuple[Group, ...]:
    """The findings by kind and gravity, faults first."""
    groups: dict[tuple[bool, str], list[FindingShape]] = {}
    for finding in found:
        groups.setdefault((finding.gravity != "fault", finding.kind), []).append(finding)
    return tuple(
        Group(kind, not is_remark, ADVICE.get(kind, _UNKNOWN), tuple(several))
        for (is_remark, kind), several in sorted(groups.items(), key=lambda group: group[0][0])
    )
