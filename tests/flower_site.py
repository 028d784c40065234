"""An executor whose hospital adds one to every number; header words make it misbehave."""

import os
import sys
import time

from hospital_node.executor import main
from protocol.update import Packed


def answer(header: bytes, packed: Packed) -> tuple[bytes, Packed | None]:
    """Add one, or do what the header says."""
    match header:
        case b"raise":
            raise RuntimeError("patient 4711")
        case b"sleep":
            time.sleep(60)
        case b"die":
            os._exit(9)
        case b"nothing":
            return b"nothing to send", None
    packed += 1
    return b"added to " + header, packed


if __name__ == "__main__":
    sys.exit(main(open_answerer=lambda _settings: answer))
