"""The child of the bounded reader: takes content on standard input, answers on standard output.

It limits itself before it loads a byte, and it ends when its parent does. Everything that a codec
may print goes nowhere, since it may hold what a file holds.
"""

import os
import resource
import signal
import sys
import warnings
from typing import BinaryIO

from pydicom import config

from hospital_node.imaging.reader import FACTS, FAULT, LENGTH_BYTES, READY
from hospital_node.imaging.reading import Facts, inspect_file


def main(memory_bytes: int, time_s: float) -> None:
    """Answer until standard input ends."""
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        _limit(memory_bytes)
        warnings.simplefilter("ignore")
        config.settings.reading_validation_mode = config.IGNORE
        answers.write(READY)
        answers.flush()
        _serve(sys.stdin.buffer, answers, time_s)


def _serve(requests: BinaryIO, answers: BinaryIO, time_s: float) -> None:
    while header := requests.read(LENGTH_BYTES):
        signal.setitimer(signal.ITIMER_REAL, time_s)  # unhandled on purpose: it ends the process
        verdict = inspect_file(requests.read(int.from_bytes(header)))
        signal.setitimer(signal.ITIMER_REAL, 0)
        body = (FACTS if isinstance(verdict, Facts) else FAULT) + verdict.to_bytes()
        answers.write(len(body).to_bytes(LENGTH_BYTES) + body)
        answers.flush()


def _limit(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
