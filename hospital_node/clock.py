"""The clock: the one place where a node asks its machine for the time."""

import time


def now_us() -> int:
    """UTC microseconds."""
    return time.time_ns() // 1000
