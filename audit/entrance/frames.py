"""Frames between a process and one it started: a length of four bytes, then so many.

The one rule: either a whole frame is read, or none. What frames say is not known here.
"""

import struct
from typing import IO

LENGTH = struct.Struct(">I")


def write_frame(pipe: IO[bytes], *parts: bytes) -> None:
    """Send parts as one frame.

    Raises:
        OSError: nobody reads at the other end.
    """
    pipe.write(LENGTH.pack(sum(map(len, parts))))
    for part in parts:
        pipe.write(part)
    pipe.flush()


def read_frame(pipe: IO[bytes]) -> bytes | None:
    """The frame that was written at the other end; none once that is closed."""
    head = pipe.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    content = pipe.read(length)
    return content if len(content) == length else None
