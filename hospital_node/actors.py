"""Actors: the people at this hospital's keyboards, as the record may name them.

The one rule: a login never leaves; what stands for it is keyed with the hospital's pseudonym key,
so that the hospital can tell who it was and nobody else can try names.
"""

import hashlib
import hmac
import os
import pwd
from pathlib import Path

from hospital_node.errors import ConfigurationError
from hospital_node.settings import NodeSettings
from protocol.event import Actor, ActorKind

_CONTEXT = b"wardround/actor/v1\0"
"""Keeps a login's pseudonym from ever being a patient's."""

_ID_DIGITS = 32
"""128 bits: no two of a hospital's people share an id."""


def read_pseudonym_key(path: Path) -> bytes:
    """The hospital's pseudonym key.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as cause:
        raise ConfigurationError(f"keys.pseudonym = {path}: {cause.strerror}") from cause


def person(login: str, *, key: bytes, organisation: str, purpose: str) -> Actor:
    """The person of that login, under a pseudonym."""
    digest = hmac.new(key, _CONTEXT + login.encode(), hashlib.sha256).hexdigest()
    return Actor(
        kind=ActorKind.PERSON,
        id=f"person:{digest[:_ID_DIGITS]}",
        organisation=organisation,
        role="operator",
        purpose=purpose,
    )


def operator_of(settings: NodeSettings, purpose: str) -> Actor:
    """Whoever runs this process, under the pseudonym that these settings' key gives.

    Raises:
        ConfigurationError: the pseudonym key cannot be read.
    """
    return person(
        login_of_this_process(),
        key=read_pseudonym_key(settings.keys.pseudonym),
        organisation=settings.site.organisation,
        purpose=purpose,
    )


def login_of_this_process() -> str:
    """The account that runs this process, by the system's word and not the environment's."""
    user = os.getuid()
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"uid {user}"
