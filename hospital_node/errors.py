"""What can go wrong at this hospital, apart from what other parties get wrong.

A refusal is not an error: it is a value (`hospital_node.admission.Refused`). No text here ever
holds a patient's identifier, a label or a file's content.
"""

from audit.settings import SettingsError


class NodeError(Exception):
    """Something at this hospital must be put right before work can go on."""


class ConfigurationError(NodeError, SettingsError):
    """A file this node needs is missing, unreadable or contradicts another one."""


class CohortError(NodeError):
    """The images at this hospital cannot serve what a plan asks for."""


class VoteError(NodeError):
    """A vote cannot be cast: no such plan, or this hospital has voted already."""


class EgressError(NodeError):
    """Something was about to leave this hospital that must not."""


class PrivacyError(NodeError):
    """Numbers that cannot keep the privacy they promise."""


class WeightsError(NodeError):
    """The public weights installed here are missing or are not the ones a plan names."""


class LedgerError(NodeError):
    """The budget ledger does not hold together; nothing is charged until a person has looked."""


class LedgerBehindError(LedgerError):
    """The log has seen more of this hospital than its database holds; the ledger under-counts."""


class ClockError(NodeError):
    """This hospital's clock cannot be gone by."""


class PolicyError(NodeError):
    """The hospital's policy file is missing, unreadable or wrong."""
