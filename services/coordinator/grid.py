"""The grid: how the coordinator sends one packed array to each site and hears back from it.

The one rule: a site that cannot be reached, errs or says nonsense becomes a `Lost` value, so that
one bad site never raises into the round of the others. Nothing here knows how messages travel, what
a header says or what a reply is worth.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from protocol.update import Packed
from protocol.words import Reason


class GridError(Exception):
    """The centre's own transport failed: no site is at fault and nothing can be sent."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What one site is sent."""

    site: str
    header: bytes
    """Canonical bytes of the order."""
    packed: Packed


@dataclass(frozen=True, slots=True)
class Incoming:
    """What one site answered."""

    site: str
    header: bytes
    """Bytes of the answer, unread and unverified."""
    packed: Packed | None
    """Shape (P,), little-endian float32, read-only, any length, any values; none if none came."""


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer came from one site, and why."""

    site: str
    reason: Reason
    explanation: str = ""


class Grid(Protocol):
    """A way to the sites."""

    def sites(self) -> frozenset[str]:
        """The sites that can be reached now.

        Raises:
            GridError: the centre's own transport does not answer.
        """

    def exchange(
        self, outgoing: Sequence[Outgoing], *, timeout_s: float
    ) -> Iterator[Incoming | Lost]:
        """One result for each of `outgoing`, in the order in which they become known.

        Results are handed out one at a time and not kept, so that the caller's memory does not
        grow with the number of sites. After `timeout_s` every site still silent is
        `Lost(LATE)`, and a reply that comes later is dropped.

        Raises:
            ValueError: two of `outgoing` name the same site.
            GridError: the centre's own transport does not answer.
        """


def check_each_once(outgoing: Sequence[Outgoing]) -> None:
    """Pass when no two of `outgoing` go to the same site.

    Raises:
        ValueError: two do.
    """
    sites = [one.site for one in outgoing]
    if len(set(sites)) != len(sites):
        twice = sorted({site for site in sites if sites.count(site) > 1})
        raise ValueError(f"two messages to one site in one exchange: {', '.join(twice)}")
