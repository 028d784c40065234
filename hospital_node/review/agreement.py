"""Agreement: how far readers say the same of the same cases.

The one rule: what is compared is each reader's first signed version, made before they could know
another's; names are pseudonyms. Whoever is shown the figures is on record. Which reader is right is
not known here.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from hospital_node.local_events import Figures, FiguresShown, figures_shown
from hospital_node.review.questions import words_of
from hospital_node.review.roles import Person, Role
from hospital_node.review.room import ReadingRoom


@dataclass(frozen=True, slots=True)
class Pair:
    """Two readers of the same question."""

    question: str
    first: str
    second: str
    """Pseudonyms of the readers."""
    cases: int
    agreed: int
    kappa: float | None
    """None where chance alone explains all of it: both always said the same one thing."""
    answers: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    """Rows are the first reader's answers, columns the second's."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the cases of one question are."""

    question: str
    open: int
    disagreed: int
    settled: int
    amended: int
    """Reads that have more than one version."""


def cohen_kappa(counts: Sequence[Sequence[int]]) -> float | None:
    """Cohen's κ of a square table of two readers' answers (Cohen 1960).

    None where it is not defined: no cases, or both said one and the same throughout.
    """
    total = sum(sum(row) for row in counts)
    if not total:
        return None
    observed = sum(counts[place][place] for place in range(len(counts))) / total
    rows = [sum(row) / total for row in counts]
    columns = [sum(column) / total for column in zip(*counts, strict=True)]
    expected = sum(row * column for row, column in zip(rows, columns, strict=True))
    return None if expected == 1 else (observed - expected) / (1 - expected)


def show_agreement(room: ReadingRoom, person: Person) -> tuple[list[Progress], list[Pair]]:
    """Where cases stand and how readers agree; that it was shown is on record."""
    with room.pool.connection() as connection:
        progress = [Progress(*row) for row in connection.execute(_PROGRESS).fetchall()]
        rows = connection.execute(_FIRST_VERSIONS).fetchall()
        said: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
        for label, case_id, login, finding in rows:
            reader = room.actor(Person("", login, Role.READER), "review").id
            said[label][case_id][reader] = words_of(finding)
        pairs = [pair for label, cases in said.items() for pair in _pairs(label, cases)]
        shown = FiguresShown(figures=Figures.AGREEMENT, rows=len(pairs))
        room.note(connection, figures_shown(shown, room.actor(person, "quality")))
    return progress, pairs


_PROGRESS = """
    SELECT label,
        count(*) FILTER (WHERE standing = 'open'),
        count(*) FILTER (WHERE standing = 'disagreed'),
        count(*) FILTER (WHERE standing = 'settled'),
        coalesce(sum(amended), 0)::integer
    FROM review_case
    JOIN review_question USING (question)
    JOIN review_standing USING (case_id)
    LEFT JOIN (
        SELECT case_id, count(*) AS amended FROM review_read WHERE version = 2 GROUP BY case_id
    ) AS amendments USING (case_id)
    GROUP BY question, label
    ORDER BY label
"""

_FIRST_VERSIONS = """
    SELECT label, case_id, login, finding
    FROM review_read
    JOIN review_case USING (case_id)
    JOIN review_question USING (question)
    JOIN review_account USING (account)
    WHERE version = 1 AND NOT is_adjudication
    ORDER BY label, case_id, login
"""


def _pairs(label: str, cases: Mapping[str, Mapping[str, str]]) -> list[Pair]:
    both: dict[tuple[str, str], Counter[tuple[str, str]]] = defaultdict(Counter)
    for reads in cases.values():
        for first, second in combinations(sorted(reads), 2):
            both[first, second][reads[first], reads[second]] += 1
    return [_pair(label, readers, counted) for readers, counted in sorted(both.items())]


def _pair(label: str, readers: tuple[str, str], counted: Counter[tuple[str, str]]) -> Pair:
    answers = tuple(sorted({answer for pair in counted for answer in pair}))
    counts = tuple(tuple(counted[row, column] for column in answers) for row in answers)
    agreed = sum(counted[answer, answer] for answer in answers)
    return Pair(
        question=label,
        first=readers[0],
        second=readers[1],
        cases=counted.total(),
        agreed=agreed,
        kappa=cohen_kappa(counts),
        answers=answers,
        counts=counts,
    )
