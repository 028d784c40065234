"""The grid's contract, on the grid that lives inside one process."""

import time

import numpy as np
import pytest

from protocol.round import Reason
from protocol.update import Packed
from services.coordinator.grid import Incoming, Lost, Outgoing
from services.coordinator.local_grid import LocalGrid

ZEROS = np.zeros(5, dtype="<f4")


def _add_one(header: bytes, packed: Packed) -> tuple[bytes, Packed | None]:
    packed += 1
    return header + b"!", packed


def _break_down(header: bytes, packed: Packed) -> tuple[bytes, Packed | None]:
    raise RuntimeError("patient 4711")


def _vanish(header: bytes, packed: Packed) -> tuple[bytes, Packed | None]:
    raise ConnectionError("cable")


def _dawdle(header: bytes, packed: Packed) -> tuple[bytes, Packed | None]:
    time.sleep(0.5)
    return header, None


def test_every_site_answers_once_and_its_array_is_its_own() -> None:
    grid = LocalGrid({"north": _add_one, "south": _add_one})
    results = list(
        grid.exchange([Outgoing(s, b"go", ZEROS) for s in ("north", "south")], timeout_s=5)
    )
    assert sorted(r.site for r in results) == ["north", "south"]
    for result in results:
        assert isinstance(result, Incoming)
        assert result.header == b"go!"
        assert result.packed is not None
        assert result.packed.tolist() == [1.0] * 5
    assert ZEROS.tolist() == [0.0] * 5


def test_a_site_that_fails_is_lost_and_the_others_are_not() -> None:
    sites = {"a": _break_down, "b": _vanish, "c": _dawdle, "d": _add_one}
    grid = LocalGrid(sites)
    outgoing = [Outgoing(site, b"", ZEROS) for site in (*sites, "e")]
    lost = {
        result.site: result.reason
        for result in grid.exchange(outgoing, timeout_s=0.2)
        if isinstance(result, Lost)
    }
    assert lost == {
        "a": Reason.INTERNAL_ERROR,
        "b": Reason.UNREACHABLE,
        "c": Reason.LATE,
        "e": Reason.UNREACHABLE,
    }


def test_what_a_broken_site_said_is_not_repeated() -> None:
    (result,) = LocalGrid({"a": _break_down}).exchange([Outgoing("a", b"", ZEROS)], timeout_s=5)
    assert isinstance(result, Lost)
    assert "4711" not in result.explanation


def test_one_site_gets_one_message_per_exchange() -> None:
    grid = LocalGrid({"a": _add_one})
    with pytest.raises(ValueError, match="one site in one exchange: a"):
        grid.exchange([Outgoing("a", b"", ZEROS), Outgoing("a", b"", ZEROS)], timeout_s=5)
