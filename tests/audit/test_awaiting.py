"""What other threads find out reaches the loop: all of it, and with one waking for many."""

import asyncio
import threading
from concurrent.futures import Future

import pytest

from audit.entrance.awaiting import outcome

MANY = 200


def test_everyone_hears_of_their_own_and_the_loop_is_woken_once_for_many(monkeypatch):
    futures: list[Future[int]] = [Future() for _ in range(MANY)]
    woken = []

    async def listen() -> list[int]:
        loop = asyncio.get_running_loop()
        wake = loop.call_soon_threadsafe
        monkeypatch.setattr(
            loop, "call_soon_threadsafe", lambda *args: woken.append(1) or wake(*args)
        )
        waiting = [asyncio.create_task(outcome(one, timeout_s=30)) for one in futures]
        await asyncio.sleep(0)

        def tell() -> None:
            for number, one in enumerate(futures):
                one.set_result(number)

        teller = threading.Thread(target=tell)
        teller.start()
        teller.join()  # the loop cannot look before all is told
        return await asyncio.gather(*waiting)

    assert asyncio.run(listen()) == list(range(MANY))
    assert len(woken) == 1


def test_what_was_raised_is_raised_and_what_never_comes_is_not_waited_for():
    failed: Future[int] = Future()
    failed.set_exception(KeyError("lost"))

    async def listen() -> None:
        with pytest.raises(KeyError):
            await outcome(failed, timeout_s=1)
        silent: Future[int] = Future()
        with pytest.raises(TimeoutError):
            await outcome(silent, timeout_s=0.01)
        silent.set_result(1)  # after everybody has gone: nothing is wrong with that
        assert await outcome(silent, timeout_s=1) == 1

    asyncio.run(listen())
