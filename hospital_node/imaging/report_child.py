"""The child that parses documents: takes a table and content on standard input, answers on output.

It limits itself before it loads a byte, and it ends when its parent does. The one rule: it has no
key and no path, and what a parser may print goes nowhere.
"""

import os
import resource
import signal
import sys
import warnings
from collections.abc import Callable
from enum import StrEnum
from typing import BinaryIO

from pydantic import BaseModel
from pydicom import config

from hospital_node.imaging.labels_sr import SrLabels, read_report
from hospital_node.imaging.segmentation import SegOutlines, read_outlines

LENGTH_BYTES = 8
"""Before everything that goes either way: its length, big-endian."""

READY = b"ready"


class Document(StrEnum):
    """What is parsed."""

    REPORTS = "reports"
    OUTLINES = "outlines"


def main(document: Document, memory_bytes: int, time_s: float) -> None:
    """Answer until standard input ends."""
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        warnings.simplefilter("ignore")
        config.settings.reading_validation_mode = config.IGNORE
        answers.write(READY)
        answers.flush()
        _serve(document, sys.stdin.buffer, answers, time_s=time_s)


def _serve(document: Document, requests: BinaryIO, answers: BinaryIO, *, time_s: float) -> None:
    read = _reader(document, _take(requests))
    while content := _take(requests):
        signal.setitimer(signal.ITIMER_REAL, time_s)  # unhandled on purpose: it ends the process
        body = read(content).model_dump_json().encode()
        signal.setitimer(signal.ITIMER_REAL, 0)
        answers.write(len(body).to_bytes(LENGTH_BYTES) + body)
        answers.flush()


def _reader(document: Document, table: bytes) -> Callable[[bytes], BaseModel]:
    """What makes an answer of a document's bytes, by its table."""
    match document:
        case Document.REPORTS:
            labels = SrLabels.model_validate_json(table)
            return lambda content: read_report(content, labels)
        case Document.OUTLINES:
            outlines = SegOutlines.model_validate_json(table)
            return lambda content: read_outlines(content, outlines)


def _take(requests: BinaryIO) -> bytes:
    """The next that came; empty at the end."""
    return requests.read(int.from_bytes(requests.read(LENGTH_BYTES)))


if __name__ == "__main__":
    main(Document(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
