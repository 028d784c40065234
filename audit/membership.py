"""Membership, as far as the log needs it: whose signatures it takes, and whose witness counts.

Read from the consortium file that every party holds from its own hands. The log knows keys and
organisations; roles, rules and plans are not its business.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from audit.checkpoint import WitnessKey, WitnessPolicy
from audit.errors import AuditError
from audit.note import Verifier
from audit.settings import SettingsError, read_text


@dataclass(frozen=True, slots=True)
class Membership:
    """The keys of a consortium's log, its producers and its witnesses."""

    log: Verifier
    producers: Mapping[str, Verifier]
    """Verifiers of those who may write entries, by key name."""
    witnesses: WitnessPolicy
    writers: Mapping[str, str]
    """The key name that each member writes with, by the name in its certificate."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """The membership that a consortium file states.

        Raises:
            SettingsError: unreadable, or not a consortium file.
        """
        text = read_text(path, "consortium")
        try:
            return cls.from_json(json.loads(text))
        except (ValueError, KeyError, TypeError, AuditError) as cause:
            raise SettingsError(f"consortium = {path}: not a consortium file: {cause}") from cause

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The membership that a consortium's JSON object states.

        Raises:
            NoteError: a key is malformed.
            KeyError: a member is missing.
        """
        producers = [Verifier.from_vkey(member["event_vkey"]) for member in value["members"]]
        witnesses = tuple(
            WitnessKey.from_vkey(member["organisation"], member["witness_vkey"])
            for member in value["members"]
            if member.get("witness_vkey")
        )
        return cls(
            log=Verifier.from_vkey(value["log_vkey"]),
            producers={verifier.name: verifier for verifier in producers},
            witnesses=WitnessPolicy(witnesses, int(value["witness_quorum"])),
            writers={
                str(member["name"]): verifier.name
                for member, verifier in zip(value["members"], producers, strict=True)
            },
        )
