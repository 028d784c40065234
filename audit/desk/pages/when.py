"""When: times for people, exact in UTC and beside it how long ago.

It is told what time it is.
"""

from datetime import UTC, datetime

_STEPS = (
    (60, 1, "s"),
    (3600, 60, "min"),
    (86_400, 3600, "h"),
    (86_400 * 60, 86_400, "days"),
    (86_400 * 730, 86_400 * 30, "months"),
)
_YEAR_S = 86_400 * 365


def iso(time_us: int) -> str:
    """The time in ISO 8601 with microseconds, or the bare number where no calendar has it."""
    moment = _moment(time_us)
    return f"{time_us} µs" if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def exact(time_us: int) -> str:
    """The time to the second: `2026-11-22 17:18:04 UTC`."""
    moment = _moment(time_us)
    return f"{time_us} µs" if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def ago(time_us: int, now_us: int) -> str:
    """How long before `now_us`: `2 min ago`; `in 3 h` where it is still to come."""
    seconds = abs(now_us - time_us) // 1_000_000
    if seconds < 2:
        return "just now"
    text = next(
        (
            f"{seconds // unit} {_name(seconds // unit, name)}"
            for end, unit, name in _STEPS
            if seconds < end
        ),
        f"{seconds // _YEAR_S} {_name(seconds // _YEAR_S, 'years')}",
    )
    return f"{text} ago" if time_us <= now_us else f"in {text}"


def _name(number: int, name: str) -> str:
    return name.removesuffix("s") if number == 1 and len(name) > 1 else name


def _moment(time_us: int) -> datetime | None:
    try:
        seconds, micros = divmod(time_us, 1_000_000)
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)
    except (OverflowError, ValueError, OSError):
        return None
