"""Questions: what readers are asked about a case, and which answers there are.

The one rule: the findings come from the cohort that asks, word for word, so that a signed read can
become a label of the next one. Where something lies cannot be answered on this page.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from hospital_node.database import Connection
from hospital_node.review.errors import CasesError, FindingError
from protocol.plan import Cohort, Task

CONFIDENCE_WORDS = ("guess", "unsure", "fairly sure", "sure", "certain")
"""Of 1 to 5."""


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that readers are asked."""

    label: str
    """The label column that reads can fill."""
    findings: tuple[str, ...]
    takes_many: bool
    """Any number of the findings, none included; else exactly one."""

    @property
    def id(self) -> str:
        """Digest of what is asked."""
        said = json.dumps([self.label, self.findings, self.takes_many], ensure_ascii=True)
        return "sha256:" + hashlib.sha256(said.encode()).hexdigest()

    def check(self, finding: Sequence[str]) -> tuple[str, ...]:
        """The answer in the question's own order.

        Raises:
            FindingError: it is none of the answers.
        """
        chosen = set(finding)
        if not chosen <= set(self.findings) or (not self.takes_many and len(chosen) != 1):
            raise FindingError(
                "this answers another question; choose "
                + ("among the findings listed" if self.takes_many else "one of the findings listed")
            )
        return tuple(one for one in self.findings if one in chosen)


def question_of(cohort: Cohort) -> Question:
    """What a cohort asks of each image, as a question for people.

    Raises:
        CasesError: it asks for outlines.
    """
    match cohort.task:
        case Task.BINARY:
            return Question(cohort.label, (cohort.positive, f"not {cohort.positive}"), False)
        case Task.MULTI_CLASS | Task.MULTI_LABEL:
            takes_many = cohort.task is Task.MULTI_LABEL
            return Question(cohort.label, cohort.classes, takes_many)
        case _:
            raise CasesError(
                "this cohort asks where structures lie; the review page asks for findings. Name a "
                "cohort of another task"
            )


def keep_question(connection: Connection, question: Question, *, asked_us: int) -> None:
    """Keep a question, where it was not asked before."""
    connection.execute(
        """
        INSERT INTO review_question (question, label, findings, takes_many, asked_us)
        VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT (question) DO NOTHING
        """,
        (question.id, question.label, list(question.findings), question.takes_many, asked_us),
    )


def words_of(finding: Sequence[str]) -> str:
    """An answer in one line."""
    return ", ".join(finding) if finding else "none of these"
