"""The child of the bounded reader: is given memory on a socket, answers on standard output.

It limits itself before it loads a byte, and it ends when its parent does. Everything that a codec
may print goes nowhere, since it may hold what a file holds.
"""

import os
import resource
import signal
import socket
import sys
import warnings
from collections.abc import Callable
from typing import BinaryIO

from pydicom import config

from hospital_node.imaging.clearing import Clearance, clear_file
from hospital_node.imaging.reader import (
    CLEARANCE,
    FACTS,
    FAULT,
    LENGTH_BYTES,
    READY,
    REQUEST,
    SPAN,
    Verdict,
    Wanted,
)
from hospital_node.imaging.reading import Facts, inspect_file
from hospital_node.imaging.shared import MappedSlots

_ABOUT: dict[Wanted, Callable[[memoryview], Verdict]] = {
    Wanted.FACTS: inspect_file,
    Wanted.CLEARANCE: clear_file,
}


def main(memory_bytes: int, time_s: float) -> None:
    """Answer until the socket ends."""
    with os.fdopen(os.dup(1), "wb") as answers, socket.socket(fileno=os.dup(0)) as requests:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        _limit(memory_bytes)
        warnings.simplefilter("ignore")
        config.settings.reading_validation_mode = config.IGNORE
        answers.write(READY)
        answers.flush()
        slots = MappedSlots()
        while _serve(requests, answers, slots, time_s=time_s):
            pass


def _serve(
    requests: socket.socket, answers: BinaryIO, slots: MappedSlots, *, time_s: float
) -> bool:
    """Answer one request, file by file; false when there are no more."""
    head, memory, _, _ = socket.recv_fds(requests, REQUEST.size, 1)
    if len(head) < REQUEST.size:
        return False
    wanted, count = REQUEST.unpack(head)
    spans = requests.recv(count * SPAN.size, socket.MSG_WAITALL)
    with slots.open(memory[0]) as view:
        for start, length in SPAN.iter_unpack(spans):
            with view[start : start + length] as content:
                _answer(answers, Wanted(wanted), content, time_s=time_s)
    return True


def _answer(answers: BinaryIO, wanted: Wanted, content: memoryview, *, time_s: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, time_s)  # unhandled on purpose: it ends the process
    verdict = _ABOUT[wanted](content)
    signal.setitimer(signal.ITIMER_REAL, 0)
    body = _mark(verdict) + verdict.model_dump_json().encode()
    answers.write(len(body).to_bytes(LENGTH_BYTES) + body)
    answers.flush()


def _mark(verdict: Verdict) -> bytes:
    match verdict:
        case Facts():
            return FACTS
        case Clearance():
            return CLEARANCE
        case _:
            return FAULT


def _limit(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
