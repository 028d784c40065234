"""Words: what kinds of event, members and reasons are called for people.

The one rule: what has no word here is shown under its own name; nothing is left out because it is
not known.
"""

import re
import tomllib
from importlib.resources import files

_WORDS = tomllib.loads((files("audit.desk.pages") / "words.toml").read_text(encoding="utf-8"))

TITLES: dict[str, tuple[str, str]] = {
    kind: (one[0], one[1]) for kind, one in _WORDS["titles"].items()
}
"""Title and meaning of each kind of event."""

OUTCOMES: dict[int, str] = {int(code): word for code, word in _WORDS["outcomes"].items()}
"""How an act ended, by FHIR's codes."""

_MODEL = re.compile(r"(^|_)(model|aggregate|weights)(_|$)", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_EVENT_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def title(kind: str) -> str:
    """What a kind of event is called."""
    return TITLES.get(kind, (kind, ""))[0]


def meaning(kind: str) -> str:
    """What it says, in a sentence; empty for a kind that is not ours."""
    return TITLES.get(kind, (kind, ""))[1]


def label(member: str) -> str:
    """What a member of an entry is called."""
    return str(_WORDS["labels"].get(member) or member.replace("_", " ").capitalize())


def reason(word: str) -> str:
    """Why a site was left out, in a few words."""
    return str(_WORDS["reasons"].get(word, word))


def outcome(code: int) -> str:
    """How something ended."""
    return OUTCOMES.get(code, str(code))


def is_model(member: str, value: object) -> bool:
    """Whether a member of a body names a model, which has a page of its own."""
    return isinstance(value, str) and bool(_MODEL.search(member) and _DIGEST.fullmatch(value))


def is_digest(value: object) -> bool:
    """Whether a value is a digest or a commitment."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def is_time(member: str, value: object) -> bool:
    """Whether a member of a body is a point in time."""
    return type(value) is int and member.endswith("_us") and not member.startswith("clock_")


def is_event_id(value: object) -> bool:
    """Whether a value is the event id of an entry."""
    return isinstance(value, str) and _EVENT_ID.fullmatch(value) is not None
