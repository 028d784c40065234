"""A grid inside one process: the same exchange, with a function in place of each site.

The one rule: what a site gets and gives is copied, so that neither side can change the other's
arrays, exactly as if a network lay between them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed

import numpy as np

from protocol.update import Packed
from protocol.words import Reason
from services.coordinator.grid import Incoming, Lost, Outgoing, check_each_once

Answerer = Callable[[bytes, Packed], tuple[bytes, Packed | None]]
"""What a site does with an order: the answer's bytes, and the packed update when it has one."""


class LocalGrid:
    """Sites that are functions of this process.

    An answerer that raises `ConnectionError` is a site that cannot be reached; one that raises
    anything else is a site that broke down.
    """

    def __init__(self, answerers: Mapping[str, Answerer]) -> None:
        self._answerers = dict(answerers)

    def sites(self) -> frozenset[str]:
        """The sites there are."""
        return frozenset(self._answerers)

    def exchange(
        self, outgoing: Sequence[Outgoing], *, timeout_s: float
    ) -> Iterator[Incoming | Lost]:
        """One result for each of `outgoing`; every site answers in a thread of its own.

        Raises:
            ValueError: two of `outgoing` name the same site.
        """
        check_each_once(outgoing)
        return self._exchange(outgoing, timeout_s)

    def _exchange(
        self, outgoing: Sequence[Outgoing], timeout_s: float
    ) -> Iterator[Incoming | Lost]:
        pool = ThreadPoolExecutor(max_workers=max(1, len(outgoing)))
        asked: dict[Future[Incoming | Lost], str] = {
            pool.submit(self._ask, one): one.site for one in outgoing
        }
        try:
            for done in as_completed(list(asked), timeout=timeout_s):
                del asked[done]
                yield done.result()
        except TimeoutError:
            for site in asked.values():
                yield Lost(site, Reason.LATE, f"no answer within {timeout_s:g} s")
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, one: Outgoing) -> Incoming | Lost:
        answerer = self._answerers.get(one.site)
        if answerer is None:
            return Lost(one.site, Reason.UNREACHABLE, "no such site")
        try:
            header, packed = answerer(one.header, one.packed.copy())
        except ConnectionError as error:
            return Lost(one.site, Reason.UNREACHABLE, str(error))
        except Exception as error:  # noqa: BLE001 - the edge of another party
            return Lost(one.site, Reason.INTERNAL_ERROR, type(error).__name__)
        return Incoming(one.site, header, None if packed is None else _sealed(packed))


def _sealed(packed: Packed) -> Packed:
    """A copy that cannot be written to, as what comes over a network."""
    copy = np.array(packed, dtype="<f4")
    copy.setflags(write=False)
    return copy
