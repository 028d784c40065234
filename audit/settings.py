"""Configuration files: one TOML per process, read once, checked whole before anything starts.

The one rule: a fault is reported as file, setting and what to write instead, never as a traceback.
Paths in a file are relative to the file. This module knows the settings of the audit service and
the pieces that every party's file shares; each party adds its own model.
"""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
)

from audit.errors import KeyFileError

DSN_VARIABLE = "WARDROUND_DSN"
"""Environment variable that takes the place of `database.dsn`."""


class SettingsError(Exception):
    """A configuration file is missing, unreadable or wrong; the text names file and setting."""


def _beside_the_file(value: Any, info: ValidationInfo) -> Any:
    folder = (info.context or {}).get("folder")
    if isinstance(value, str) and folder is not None:
        return Path(folder) / value
    return value


ConfigPath = Annotated[Path, BeforeValidator(_beside_the_file)]
"""A path that, when relative, starts at the folder of the configuration file."""


def split_address(text: str) -> tuple[str, int]:
    """Host and port of `host:port` (`[host]:port` for IPv6).

    Raises:
        ValueError: it is not of that form, or the port is not 0 to 65535.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{text!r} is not host:port")
    return host.strip("[]"), int(port)


def _is_address(text: str) -> str:
    split_address(text)
    return text


Address = Annotated[str, AfterValidator(_is_address)]
"""`host:port`."""


class Section(BaseModel):
    """One table of a configuration file: fixed once read, no setting it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Tls(Section):
    """What a process shows and whom it believes, as PEM files."""

    ca: ConfigPath
    """The consortium's certificate authority; no other is believed."""
    certificate: ConfigPath
    key: ConfigPath


class Database(Section):
    """The party's own PostgreSQL database."""

    dsn: Annotated[str, Field(min_length=1)]


class AuditAddress(Section):
    """Where the audit service is."""

    url: Annotated[str, Field(pattern=r"^https://[^/]+$")]
    """`https://host:port`, without a path."""


class AuditService(Section):
    """The audit service itself."""

    state: ConfigPath
    """Folder for what the process keeps beside its database."""
    listen: Address
    url: Annotated[str, Field(pattern=r"^https://[^/]+$")] | None = None
    """Where members reach it, `https://host:port`, for commands here; by default `listen`."""
    merge_delay_s: Annotated[int, Field(ge=1, le=86_400)] = 60
    """Within which a receipt promises that an entry will be in the tree, at most a day."""


class AuditKeys(Section):
    """Private keys of the audit service."""

    log: ConfigPath
    """Signs the checkpoints of the consortium's log."""
    event: ConfigPath | None = None
    """Signs what the audit service itself does; without it, no auditor is served."""


class WitnessAddress(Section):
    """A witness that the log can reach: another institution's, or a regulator's."""

    url: Annotated[str, Field(pattern=r"^https://[^/?#]+(/[^?#]*)?$")]
    """Its submission prefix (C2SP tlog-witness)."""
    vkey: Annotated[str, Field(min_length=1)]
    """Its verifier key. It counts towards the quorum only if the consortium file names it."""
    organisation: str = ""
    """Whose it is, for people."""
    ca: ConfigPath | None = None
    """Who vouches for its address; without it, whoever this machine believes."""


class AuditSettings(Section):
    """The audit service's `audit.toml`."""

    audit: AuditService
    database: Database
    keys: AuditKeys
    tls: Tls
    consortium: ConfigPath
    witnesses: tuple[WitnessAddress, ...] = ()
    """Those that are asked to cosign; hospitals' witnesses come by themselves."""
    desk: dict[str, Any] | None = None
    """The auditors' desk, a process of its own, which reads its table by `audit.desk.settings`."""

    @property
    def desk_role(self) -> str | None:
        """The desk's own database role, where it has one."""
        return (self.desk or {}).get("role")


class LogAddress(BaseModel):
    """The log's address, as any party's file gives it: its own `url`, or where it listens."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    url: str | None = None
    listen: Address | None = None


class ClientSettings(BaseModel):
    """What any party's file says about reaching the log; other sections are not looked at."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    audit: LogAddress
    tls: Tls
    consortium: ConfigPath

    @property
    def url(self) -> str:
        """Where the audit service answers.

        Raises:
            SettingsError: the file says neither `audit.url` nor `audit.listen`.
        """
        if self.audit.url:
            return self.audit.url
        if self.audit.listen:
            return f"https://{self.audit.listen}"
        raise SettingsError("audit.url: missing; set it to https://host:port of the audit service")


Model = TypeVar("Model", bound=BaseModel)


def exit_code_of(fault: Exception) -> int:
    """What every party's processes return to the shell for a fault that ends them.

    3 where the operator can mend a setting, a key file or what they name; 1 otherwise.
    """
    mendable = SettingsError | KeyFileError | FileNotFoundError | PermissionError
    return 3 if isinstance(fault, mendable) else 1


def read_settings(path: Path, model: type[Model]) -> Model:
    """The settings in the TOML file at `path`.

    `WARDROUND_DSN` in the environment takes the place of `database.dsn`, for models that have one.

    Raises:
        SettingsError: no such file, not TOML, or a setting is missing, unknown or malformed.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as cause:
        raise SettingsError(f"{path}: cannot be read: {cause.strerror}") from cause
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise SettingsError(f"{path}: not TOML: {cause}") from cause
    dsn = os.environ.get(DSN_VARIABLE)
    if dsn and "database" in model.model_fields:
        database = content.setdefault("database", {})
        if isinstance(database, dict):
            database["dsn"] = dsn
    try:
        return model.model_validate(content, context={"folder": path.resolve().parent})
    except ValidationError as cause:
        raise SettingsError(f"{path}: {_faults(cause)}") from cause


def _faults(error: ValidationError) -> str:
    """Every faulty setting with its fault, without the values (a DSN may hold a password)."""
    lines = []
    for fault in error.errors(include_input=False, include_url=False):
        place = ".".join(str(part) for part in fault["loc"]) or "the file"
        hint = f"; set it or {DSN_VARIABLE}" if place.startswith("database") else ""
        lines.append(f"{place}: {fault['msg']}{hint}")
    return "; ".join(lines)


def read_text(path: Path, setting: str) -> str:
    """The text of a file that a setting names.

    Raises:
        SettingsError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        raise SettingsError(f"{setting} = {path}: cannot be read: {cause}") from cause
