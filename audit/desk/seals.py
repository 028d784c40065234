"""Seals: what a caller typed, fixed on the record so that nobody reads or guesses it there.

The one rule: every call has a salt of its own, which follows from a key of the desk and a number
drawn for the call. Were the same question always sealed alike, an auditor could ask what they
suspect of another and compare. The number is in the entry and the salt goes to the caller alone;
once the key is destroyed, no seal can be opened by anyone who does not hold its salt.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from audit.canonical import canonical_json
from audit.commitment import commit, spell

_NONCE_BYTES = 16
"""Two calls never draw the same."""


@dataclass(frozen=True, slots=True)
class Seal:
    """The seal of one call."""

    nonce: str
    """As the entry names it."""
    salt: bytes = field(repr=False)

    @classmethod
    def draw(cls, key: bytes, random: Callable[[int], bytes]) -> Self:
        """The seal of a new call, under the desk's key of 32 bytes."""
        return cls.named(key, random(_NONCE_BYTES).hex())

    @classmethod
    def named(cls, key: bytes, nonce: str) -> Self:
        """The seal of the call whose entry names this number."""
        return cls(nonce, hmac.new(key, nonce.encode(), hashlib.sha256).digest())

    def close(self, content: bytes) -> str:
        """The commitment to what was asked, `sha256:<64 hex digits>` (`audit.commitment`)."""
        return spell(commit(self.salt, content))


def spell_parameters(
    path: Mapping[str, str], query: Sequence[tuple[str, str]], content: bytes = b""
) -> bytes:
    """A call's parameters in canonical JSON; of a body its SHA-256."""
    return canonical_json(
        {
            "content": content.hex() if content else None,
            "path": [list(pair) for pair in sorted(path.items())],
            "query": [list(pair) for pair in sorted(query)],
        }
    )
