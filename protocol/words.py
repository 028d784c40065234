"""Words: the closed vocabularies in which parties give reasons on the record.

The one rule: nobody's own sentence reaches an event. An error text may quote the file it is about,
and a file is about a patient; so a reason is one of these words, with numbers beside it at most.
The sentences here are for people who read a record; they are never part of one.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why a node did not do what was asked, or the centre left a site out."""

    NONE = "none"
    BAD_ORDER = "bad-order"
    PLAN_NOT_SIGNED = "plan-not-signed"
    PLAN_NOT_ALLOWED = "plan-not-allowed"
    PLAN_EXPIRED = "plan-expired"
    PLAN_WITHDRAWN = "plan-withdrawn"
    PROOF_INVALID = "proof-invalid"
    LOG_FORKED = "log-forked"
    BUDGET_EXHAUSTED = "budget-exhausted"
    LEDGER_BEHIND = "ledger-behind"
    LEDGER_DISAGREES = "ledger-disagrees"
    LOG_UNAVAILABLE = "log-unavailable"
    COHORT_TOO_SMALL = "cohort-too-small"
    COHORT_CHANGED = "cohort-changed"
    DATA_WITHDRAWN = "data-withdrawn"
    MODEL_MISMATCH = "model-mismatch"
    EGRESS_DENIED = "egress-denied"
    ALREADY_DONE = "already-done"
    LATE = "late"
    UNREACHABLE = "unreachable"
    BAD_UPDATE = "bad-update"
    INTERNAL_ERROR = "internal-error"


class Detail(StrEnum):
    """What exactly was found, where the reason alone leaves it open."""

    NONE = "none"
    SITE_REFUSED = "site-refused"
    NOT_ON_LINE = "not-on-line"
    OPENING_UNSEEN = "opening-unseen"
    NO_ANSWER = "no-answer"
    COORDINATOR_STOPPED = "coordinator-stopped"
    TRANSPORT_FAILED = "transport-failed"
    PLAN_WITHDRAWN = "plan-withdrawn"
    NOT_AN_ANSWER = "not-an-answer"
    OTHER_ORDER = "other-order"
    OTHER_SITE = "other-site"
    NO_UPDATE = "no-update"
    WRONG_LAYOUT = "wrong-layout"
    BAD_RECEIPT = "bad-receipt"
    OTHER_RECEIPT = "other-receipt"
    OTHER_DIGEST = "other-digest"
    NORM_TOO_LARGE = "norm-too-large"
    STRANGER = "stranger"
    CHARGE_NOT_LOGGED = "charge-not-logged"
    CHARGE_OF_OTHER_WORK = "charge-of-other-work"


DETAILS: dict[Detail, str] = {
    Detail.NONE: "",
    Detail.SITE_REFUSED: "the hospital refused, and said no more than the reason",
    Detail.NOT_ON_LINE: "not on line",
    Detail.OPENING_UNSEEN: "no quorum of hospitals saw the opening on the log before the deadline",
    Detail.NO_ANSWER: "no whole answer came",
    Detail.COORDINATOR_STOPPED: "the coordinator stopped during the run",
    Detail.TRANSPORT_FAILED: "the centre's own transport failed",
    Detail.PLAN_WITHDRAWN: "the plan was withdrawn",
    Detail.NOT_AN_ANSWER: "what came is not an answer as it was agreed",
    Detail.OTHER_ORDER: "the answer is to another order",
    Detail.OTHER_SITE: "the answer is signed off by another site",
    Detail.NO_UPDATE: "the answer says accepted and brings no update",
    Detail.WRONG_LAYOUT: "the array has not the agreed layout, or is not finite",
    Detail.BAD_RECEIPT: "the receipt is no entry that the hospital signed",
    Detail.OTHER_RECEIPT: "the receipt is about another site, round or layout",
    Detail.OTHER_DIGEST: "the array has another digest than its signed receipt",
    Detail.NORM_TOO_LARGE: "the norm is larger than training under this plan makes it",
    Detail.STRANGER: "the site is not in the consortium",
    Detail.CHARGE_NOT_LOGGED: "the charge that its receipt names is not on the log",
    Detail.CHARGE_OF_OTHER_WORK: "the charge is for other work or other noise than the ballot's",
}
"""Each detail as a sentence part for people."""


class Halt(StrEnum):
    """Why a run stopped before its end."""

    COORDINATOR_STOPPED = "coordinator-stopped"
    TRANSPORT_FAILED = "transport-failed"
    NO_QUORUM = "no-quorum"
    CANDIDATE_UNSEEN = "candidate-unseen"
    PLAN_WITHDRAWN = "plan-withdrawn"


HALTS: dict[Halt, str] = {
    Halt.COORDINATOR_STOPPED: "the coordinator stopped during the run",
    Halt.TRANSPORT_FAILED: "the centre's own transport failed",
    Halt.NO_QUORUM: "no round reached its quorum",
    Halt.CANDIDATE_UNSEEN: "no quorum of hospitals has seen the candidate on the log",
    Halt.PLAN_WITHDRAWN: "the plan was withdrawn during the run",
}
"""Each reason as a sentence part for people."""


class Ground(StrEnum):
    """Why a hospital votes as it does, or why something agreed is taken back."""

    NONE = "none"
    PURPOSE = "purpose"
    POLICY = "policy"
    PRIVACY_COST = "privacy-cost"
    COHORT = "cohort"
    DATA_QUALITY = "data-quality"
    ETHICS = "ethics"
    CONTRACT = "contract"
    SAFETY = "safety"
    PERFORMANCE = "performance"
    SECURITY = "security"
    KEY_LOST = "key-lost"
    LEFT = "left"
    SUPERSEDED = "superseded"
    SUBJECT_REQUEST = "subject-request"
    OTHER = "other"
