"""What people at the review page can be told no for, and what its commands can be refused.

The one rule: the text says what was found and what to do, and holds nothing of a patient.
"""

from hospital_node.errors import NodeError


class ReviewError(NodeError):
    """Something about accounts or cases must be put right by whoever asked."""


class AccountError(ReviewError):
    """An account cannot be made or closed so."""


class CasesError(ReviewError):
    """Cases cannot be put up for reading so."""


class NoLongerHeldError(ReviewError):
    """The case is not held by whoever wants to work on it."""


class NotThereError(ReviewError):
    """There is no such thing, or it is not for the eyes of whoever asked."""


class FindingError(ReviewError):
    """A reading that answers no question that was asked."""
