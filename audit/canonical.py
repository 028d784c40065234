"""One byte form for one JSON value: RFC 8785, narrowed until two honest programs cannot disagree.

No floating-point number, integers within ±2^53, ASCII keys. Parsing refuses every byte string that
printing would not have made, so a digest names a value and not one of its spellings.
"""

import json
from collections.abc import Iterable
from typing import Any, NoReturn

from audit.errors import CanonicalError

MAX_INTEGER = 2**53
"""RFC 8785 §3.2.2.3: beyond this, implementations that use doubles lose digits."""

MAX_DEPTH = 64
"""Objects and lists within one another. A number, and not the interpreter's patience: what one
process takes, every other must be able to read."""


def canonical_json(value: Any) -> bytes:
    """The canonical bytes of a JSON value.

    Raises:
        CanonicalError: the value holds a float, a huge integer, a key that is not ASCII, half a
            surrogate pair, a type that JSON does not have, or is nested too deeply.
    """
    try:
        _check_value(value, "$", 0)
        return _print(value)
    except UnicodeEncodeError as cause:
        raise CanonicalError("a string holds half of a surrogate pair") from cause
    except RecursionError as cause:
        raise CanonicalError("the value is nested too deeply") from cause


def parse_canonical(content: bytes) -> Any:
    """The value whose canonical form is exactly `content`.

    Raises:
        CanonicalError: the bytes are not JSON, or not its canonical form.
    """
    try:
        value = json.loads(content.decode(), parse_float=_refuse, parse_constant=_refuse)
    except RecursionError as cause:
        raise CanonicalError("the value is nested too deeply") from cause
    except ValueError as cause:
        raise CanonicalError(f"the bytes are not JSON in UTF-8: {cause}") from cause
    if canonical_json(value) != content:
        raise CanonicalError(
            "the bytes are JSON but not canonical (RFC 8785): keys must be sorted and unique, "
            "without blanks, each number and string in its shortest form"
        )
    return value


def _print(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode()


def _refuse(text: str) -> NoReturn:
    raise CanonicalError(f"{text} is not an integer; such numbers travel as decimal strings")


def _check_value(value: Any, path: str, depth: int) -> None:
    match value:
        case None | bool() | str():
            pass
        case int() if abs(value) <= MAX_INTEGER:
            pass
        case int():
            raise CanonicalError(f"{path}: an integer beyond ±2^53; send it as a decimal string")
        case list() | tuple():
            _check_members(enumerate(value), path, depth)
        case dict():
            if not all(isinstance(key, str) and key.isascii() for key in value):
                raise CanonicalError(f"{path}: a key is not an ASCII string")
            _check_members(value.items(), path, depth)
        case _:
            raise CanonicalError(f"{path}: {type(value).__name__} has no canonical form")


def _check_members(members: Iterable[tuple[object, Any]], path: str, depth: int) -> None:
    if depth == MAX_DEPTH:
        raise CanonicalError(f"the value is nested too deeply: at most {MAX_DEPTH} levels")
    for key, item in members:
        _check_value(item, f"{path}.{key}", depth + 1)
