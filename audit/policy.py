"""Trust policies in C2SP tlog-policy format: which logs, which witnesses, and what is a quorum.

The one rule: names are opaque bytes that mean something inside their file alone; a checkpoint is
judged by keys. A consortium's own rule is written here as such a file, with a group for every
organisation, so that any tool that reads the format counts organisations as we do.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self

from audit.checkpoint import Checkpoint, Cosignature, WitnessKey, WitnessPolicy
from audit.errors import NoteError, PolicyError, UnmetPolicyError
from audit.note import Algorithm, Note, Verifier

MAX_POLICY_BYTES = 2**20
"""A policy of some hundred keys has 50 kB; the format lets readers bound it."""

_NONE = "none"
_DECIMAL = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Group:
    """So many of these members, witnesses or groups, make the group a witness."""

    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy file: logs, witnesses, groups and the quorum, names as the file has them."""

    logs: tuple[Verifier, ...] = ()
    witnesses: Mapping[str, Verifier] = field(default_factory=dict)
    groups: Mapping[str, Group] = field(default_factory=dict)
    quorum: str = _NONE

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """The policy that a file spells.

        Raises:
            PolicyError: it is none; the text names the line.
        """
        if len(content) > MAX_POLICY_BYTES:
            raise PolicyError(f"a policy of {len(content)} bytes; at most {MAX_POLICY_BYTES}")
        reader = _Reader()
        *lines, rest = content.split(b"\n")
        if rest.strip(b" \t"):
            raise PolicyError(f"line {len(lines) + 1}: cut short; every line ends in a newline")
        for number, line in enumerate(lines, start=1):
            try:
                reader.take(line)
            except (NoteError, PolicyError) as cause:
                raise PolicyError(f"line {number}: {cause}") from cause
        if reader.quorum is None:
            raise PolicyError("no line 'quorum NAME'; to need no cosignature write 'quorum none'")
        return cls(tuple(reader.logs), reader.witnesses, reader.groups, reader.quorum)

    def log_of(self, note: str) -> Verifier:
        """The policy's log whose origin a checkpoint note names.

        Raises:
            PolicyError: the policy lists no log of that origin.
            NoteError: the note holds no checkpoint.
        """
        parsed = Note.parse(note)
        origin = Checkpoint.parse(parsed.text).origin
        known = [log for log in self.logs if log.name == origin]
        signed = [log for log in known if any(s.is_by(log) for s in parsed.signatures)]
        if not known:
            raise PolicyError(f"the policy lists no log {origin!r}; add a line 'log' with its key")
        return (signed or known)[0]

    def cosignatures(self, note: str) -> tuple[Cosignature, ...]:
        """The verified cosignatures of the policy's witnesses; each stands for its own name.

        Raises:
            NoteError: a known witness's cosignature is wrong.
        """
        keys = tuple(WitnessKey(_shown(name), key) for name, key in self.witnesses.items())
        return WitnessPolicy(keys, 0).cosignatures(note)

    def check(self, note: str) -> tuple[Cosignature, ...]:
        """The verified cosignatures, if they make the quorum.

        Raises:
            NoteError: a known witness's cosignature is wrong.
            UnmetPolicyError: they do not make the quorum.
        """
        found = self.cosignatures(note)
        have = {cosignature.organisation for cosignature in found}
        cosigned = {name for name in self.witnesses if _shown(name) in have}
        if not self._is_met(self.quorum, cosigned):
            raise UnmetPolicyError(_shown(self.quorum), tuple(sorted(have)))
        return found

    @property
    def wanted(self) -> str:
        """The quorum in words."""
        return f"quorum {_shown(self.quorum)} of the policy"

    def _is_met(self, quorum: str, cosigned: Iterable[str]) -> bool:
        """Whether a name has witnessed; groups name only what stands before them in the file."""
        met = {_NONE, *cosigned}
        for name, group in self.groups.items():
            if sum(member in met for member in group.members) >= group.threshold:
                met.add(name)
        return quorum in met


class _Reader:
    """Takes a policy file line by line."""

    def __init__(self) -> None:
        self.logs: list[Verifier] = []
        self.witnesses: dict[str, Verifier] = {}
        self.groups: dict[str, Group] = {}
        self.quorum: str | None = None

    def take(self, line: bytes) -> None:
        if _CONTROL.search(line):
            raise PolicyError("a control character; only tab and newline are allowed")
        words = [word for word in re.split(rb"[ \t]+", line) if word]
        if not words or words[0].startswith(b"#"):
            return
        keyword, *items = (word.decode("utf-8", "surrogateescape") for word in words)
        takes = {
            "log": self._take_log,
            "witness": self._take_witness,
            "group": self._take_group,
            "quorum": self._take_quorum,
        }
        if keyword not in takes:
            raise PolicyError(f"{_shown(keyword)!r} begins no line; expected {', '.join(takes)}")
        takes[keyword](items)

    def _take_log(self, items: list[str]) -> None:
        if not 1 <= len(items) <= 2:
            raise PolicyError("expected 'log VKEY [URL]'")
        key = _key(items[0], Algorithm.ED25519)
        if any(key.public_key == other.public_key for other in self.logs):
            raise PolicyError(f"the key of log {key.name!r} is listed twice")
        self.logs.append(key)

    def _take_witness(self, items: list[str]) -> None:
        if not 2 <= len(items) <= 3:
            raise PolicyError("expected 'witness NAME VKEY [URL]'")
        key = _key(items[1], Algorithm.COSIGNATURE)
        if any(key.public_key == other.public_key for other in self.witnesses.values()):
            raise PolicyError(f"the key of witness {key.name!r} is listed twice")
        self.witnesses[self._new_name(items[0])] = key

    def _take_group(self, items: list[str]) -> None:
        if len(items) < 3:
            raise PolicyError("expected 'group NAME all|any|K MEMBER...'")
        name, rule, *members = items
        if len(set(members)) != len(members):
            raise PolicyError(f"group {_shown(name)!r} names a member twice")
        for member in members:
            self._check_known(member)
        words = {"all": len(members), "any": 1}
        if rule not in words and not _DECIMAL.fullmatch(rule):
            raise PolicyError(f"found {_shown(rule)!r}; expected all, any or a number")
        threshold = words[rule] if rule in words else int(rule)
        if threshold > len(members):
            raise PolicyError(f"{threshold} of {len(members)} members can never be met")
        self.groups[self._new_name(name)] = Group(threshold, tuple(members))

    def _take_quorum(self, items: list[str]) -> None:
        if len(items) != 1:
            raise PolicyError("expected 'quorum NAME'")
        if self.quorum is not None:
            raise PolicyError("a second quorum; a policy has exactly one")
        if items[0] != _NONE:
            self._check_known(items[0])
        self.quorum = items[0]

    def _new_name(self, name: str) -> str:
        if name == _NONE or name in self.witnesses or name in self.groups:
            raise PolicyError(f"{_shown(name)!r} is taken; witnesses and groups share their names")
        return name

    def _check_known(self, name: str) -> None:
        if name not in self.witnesses and name not in self.groups:
            raise PolicyError(f"{_shown(name)!r} is not defined on a line before this one")


def write_policy(log: Verifier, policy: WitnessPolicy) -> bytes:
    """A consortium's log, witnesses and quorum as a policy file, a group per organisation.

    Names are numbered, since an organisation's own holds blanks; comments say which is which.
    """
    return "".join(f"{line}\n" for line in _lines(log, policy)).encode()


def _lines(log: Verifier, policy: WitnessPolicy) -> Iterator[str]:
    yield f"log {log.vkey}"
    names = {witness: f"witness-{n}" for n, witness in enumerate(policy.witnesses, start=1)}
    organisations = dict.fromkeys(witness.organisation for witness in policy.witnesses)
    for number, organisation in enumerate(organisations, start=1):
        mine = [w for w in policy.witnesses if w.organisation == organisation]
        yield f"# {''.join(c if c.isprintable() else '?' for c in organisation)}"
        yield from (f"witness {names[witness]} {witness.verifier.vkey}" for witness in mine)
        yield f"group organisation-{number} any {' '.join(names[witness] for witness in mine)}"
    if policy.quorum == 0:
        yield f"quorum {_NONE}"
        return
    groups = " ".join(f"organisation-{number + 1}" for number in range(len(organisations)))
    yield f"group organisations {policy.quorum} {groups}"
    yield "quorum organisations"


def _key(vkey: str, algorithm: Algorithm) -> Verifier:
    key = Verifier.from_vkey(vkey)
    if key.algorithm is not algorithm:
        raise PolicyError(
            f"key {key.name!r} has type {key.algorithm:d}; expected {algorithm:d}, "
            f"{'a log' if algorithm is Algorithm.ED25519 else 'a witness'}'s"
        )
    return key


def _shown(name: str) -> str:
    """A name for people; bytes that are not UTF-8 are escaped, which keeps different ones apart."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
