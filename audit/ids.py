"""Names of events: UUIDs of version 7, made from a time and random bytes that the caller brings.

An id sorts roughly by time and says nothing about whom an event concerns.
"""

import uuid

RANDOM_BYTES = 10
"""How many random bytes one id takes."""


def uuid7(time_us: int, random_bytes: bytes) -> str:
    """The UUID of version 7 for a time in UTC microseconds, as lower-case text.

    Source: RFC 9562 §5.7 (48 bits of Unix milliseconds, 74 random bits).

    Raises:
        ValueError: not exactly ten random bytes, or a time outside 48 bits of milliseconds.
    """
    milliseconds = time_us // 1000
    if len(random_bytes) != RANDOM_BYTES or not 0 <= milliseconds < 2**48:
        raise ValueError(
            f"found {len(random_bytes)} random bytes and time {time_us} µs; "
            f"expected {RANDOM_BYTES} bytes and a time after 1970"
        )
    number = (milliseconds << 80) | int.from_bytes(random_bytes, "big")
    number = (number & ~(0xF << 76)) | (0x7 << 76)
    number = (number & ~(0x3 << 62)) | (0x2 << 62)
    return str(uuid.UUID(int=number))
