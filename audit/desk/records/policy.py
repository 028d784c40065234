"""The retention policy: for how long which payloads are kept at least, and by which law.

The one rule: what the policy does not name is never due. The file says what a lawyer decided; this
module counts days.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from audit.payloads.store import Payload
from audit.settings import SettingsError

SHIPPED = Path(__file__).with_name("retention.toml")
"""The policy where `audit.toml` names none."""

_DAY_US = 86_400_000_000


class RetentionClass(BaseModel):
    """One class of payloads."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    least_days: Annotated[int, Field(ge=1, le=36_525)]
    """For how many days a payload is kept at least; a century at most."""
    legal_basis: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:()/ -]{0,79}$")]
    """The rule that asks for it, as entries name it."""
    erasable_early: bool
    """Whether one payload may be erased before the period is over, on a data subject's request."""

    @property
    def least_us(self) -> int:
        """The period in microseconds."""
        return self.least_days * _DAY_US


_Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,39}$")]


class _File(RootModel[dict[_Name, RetentionClass]]):
    """The policy file: one table for each class."""


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """Every retention class, by name."""

    classes: Mapping[str, RetentionClass]

    @classmethod
    def read(cls, path: Path = SHIPPED) -> Self:
        """The policy in the file at `path`.

        Raises:
            SettingsError: it cannot be read, or a class is not of its form.
        """
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
            return cls(_File.model_validate(content).root)
        except OSError as cause:
            raise SettingsError(f"{path}: cannot be read: {cause.strerror}") from cause
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
            raise SettingsError(f"{path}: not TOML: {cause}") from cause
        except ValidationError as cause:
            fault = cause.errors(include_url=False)[0]
            place = ".".join(map(str, fault["loc"]))
            raise SettingsError(f"{path}: {place}: {fault['msg']}") from cause

    def due_from_us(self, payload: Payload) -> int | None:
        """When the payload may be disposed of; none where the policy does not know its class."""
        named = self.classes.get(payload.retention)
        return None if named is None else payload.kept_from_us + named.least_us

    def is_due(self, payload: Payload, now_us: int) -> bool:
        """Whether the payload's period is over."""
        due_us = self.due_from_us(payload)
        return due_us is not None and due_us <= now_us

    def may_erase(self, payload: Payload, now_us: int) -> bool:
        """Whether the payload may be erased on a data subject's request."""
        named = self.classes.get(payload.retention)
        return named is None or named.erasable_early or self.is_due(payload, now_us)
