"""Policies: rules as code, proposed, voted and applied on the record.

The one rule: a policy is named by the digest of its text, and a decision by the digests of policy
and input, so that anybody who holds both can take it again. The rules' language is not known here.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from protocol.ballot import Choice
from protocol.provenance import Authorisation, Profile
from protocol.record import Digest, Name, Record
from protocol.words import Ground, Reason


class PolicyText(Record):
    """Body of `policy.proposed`: rules as code, by their digest; the text is agreed out of band."""

    policy_digest: Digest
    replaces: Digest | None = None
    language: Profile
    size_bytes: Annotated[int, Field(ge=1)]


class PolicyVote(Record):
    """Body of `policy.voted`."""

    policy_digest: Digest
    site: Name
    choice: Choice
    ground: Ground = Ground.NONE


class PolicyActivation(Record):
    """Body of `policy.activated`."""

    policy_digest: Digest
    signers: Annotated[tuple[Name, ...], Field(min_length=1)]


class PolicyAct(StrEnum):
    """What a policy was asked about."""

    VOTE = "vote"
    TRAIN = "train"
    EVALUATE = "evaluate"
    RELEASE = "release"
    EXPORT = "export"


class PolicyDecision(Record):
    """Body of `policy.decision`: what a party's policy said about one act."""

    site: Name
    act: PolicyAct
    authorisation: Authorisation
    reason: Reason = Reason.NONE
