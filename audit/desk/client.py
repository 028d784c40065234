"""The desk, as an auditor's command asks it for an export.

The one rule: a file is left behind only when its bytes are the ones whose digest the desk named,
the same that stands in the log. What is in it is checked by `export_check`, which needs no network.
"""

import hashlib
import os
import re
import ssl
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from audit.canonical import parse_canonical
from audit.errors import AuditError
from audit.export_lines import Format
from audit.refusal import LogUnavailableError
from audit.selection import Selection
from audit.settings import SettingsError

KEY_VARIABLE = "WARDROUND_AUDIT_KEY"
"""Environment variable that holds an API key, where no file does."""

_NUMBER = re.compile(r"[0-9]{1,16}", re.ASCII)

_ANSWER_S = 600.0
"""A large log takes minutes to write before its first byte leaves."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a desk is, and whose certificate it must show."""

    url: str
    ca: Path | None = None
    """The authority to believe; by default those of the system."""


def read_key(file: Path | None, environment: Mapping[str, str]) -> str:
    """The API key in `file`, or else in the environment.

    Raises:
        SettingsError: there is none, or the file cannot be read.
    """
    if file is None:
        key = environment.get(KEY_VARIABLE, "")
    else:
        try:
            key = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as cause:
            raise SettingsError(f"--key-file: {file} cannot be read") from cause
    key = key.strip()
    if not key:
        raise SettingsError(f"no API key; give --key-file, or set {KEY_VARIABLE}")
    if not (key.isascii() and key.isprintable()):
        raise SettingsError("what was given is no API key: it is one line of plain letters")
    return key


def check_address(url: str) -> str:
    """The desk's address, once it is seen that a key may be sent there.

    Raises:
        SettingsError: it is not https: whoever listens would read the key.
    """
    if not url.startswith("https://"):
        raise SettingsError("--desk is not https://host:port; a key is sent to no other address")
    return url.rstrip("/")


def selection_of(conditions: list[str]) -> Selection:
    """The selection that texts like `type=privacy.` spell.

    Raises:
        SettingsError: a text is not of that form, or no selection has such a member.
    """
    chosen: dict[str, Any] = {}
    for condition in conditions:
        name, found, value = condition.partition("=")
        if not found or name in chosen:
            raise SettingsError("--where takes name=value, each name once")
        is_number = name in Selection.NUMBERS and _NUMBER.fullmatch(value)
        chosen[name] = int(value) if is_number else value
    try:
        return Selection.from_json(chosen)
    except AuditError as cause:
        raise SettingsError(f"--where: {cause}") from cause


def fetch_export(
    address: Address, key: str, *, kind: Format, selection: Selection, out: Path
) -> dict[str, Any]:
    """Have the desk export, and write the file to `out`; the summary that the desk gave with it.

    Raises:
        SettingsError: the file cannot be written, or the authority not be read.
        AuditError: the desk is away, refuses, or what arrived is not what it named.
    """
    part = out.with_name(f"{out.name}.part")
    wanted = {"format": str(kind), "filter": selection.to_json()}
    try:
        with (
            httpx.Client(verify=_context(address.ca), timeout=_ANSWER_S, trust_env=False) as http,
            http.stream(
                "POST",
                f"{check_address(address.url)}/v1/exports",
                json=wanted,
                headers={"Authorization": f"Bearer {key}"},
            ) as answer,
        ):
            summary = _save(answer, part)
        os.replace(part, out)
    except httpx.HTTPError as cause:
        raise LogUnavailableError(f"the desk cannot be reached: {type(cause).__name__}") from cause
    except OSError as cause:
        raise SettingsError(f"{out} cannot be written: {cause.strerror}") from cause
    finally:
        with suppress(FileNotFoundError):
            part.unlink()
    return summary


def _save(answer: httpx.Response, part: Path) -> dict[str, Any]:
    if answer.status_code != httpx.codes.OK:
        answer.read()
        raise AuditError(f"the desk refused with status {answer.status_code}: {_detail(answer)}")
    digest = hashlib.sha256()
    with part.open("wb") as file:
        for chunk in answer.iter_bytes():
            digest.update(chunk)
            file.write(chunk)
    try:
        summary: dict[str, Any] = parse_canonical(b64decode(answer.headers["wardround-export"]))
        named = summary["sha256"]
    except (AuditError, LookupError, TypeError, ValueError) as cause:
        raise AuditError("the desk did not say what it sent") from cause
    if named != digest.hexdigest():
        raise AuditError("what arrived is not what the desk named; ask again")
    return summary


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (LookupError, TypeError, ValueError):
        return "without a reason"


def _context(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as cause:
        raise SettingsError(f"--ca: {ca} cannot be read") from cause
