"""Who this hospital is: its place in the consortium file, and the key that proves it."""

from dataclasses import dataclass
from pathlib import Path

from audit.keys import load_signer
from audit.note import Signer
from audit.settings import read_text
from audit.trust import Trust
from hospital_node.errors import ConfigurationError
from hospital_node.settings import NodeSettings
from protocol.consortium import Consortium
from protocol.errors import RecordError


@dataclass(frozen=True, slots=True)
class Identity:
    """This hospital in its consortium."""

    consortium: Consortium
    membership: Trust
    """The same consortium's keys, as the log's software reads them."""
    signer: Signer
    """Signs this hospital's events."""


def read_identity(settings: NodeSettings) -> Identity:
    """The identity that the settings name.

    Raises:
        ConfigurationError: the consortium file is not one, or does not know this site by its key.
        KeyFileError: the event key cannot be used.
    """
    consortium = _read_consortium(settings.consortium)
    signer = load_signer(settings.keys.event)
    member = consortium.member(settings.site.name)
    if member is None:
        raise ConfigurationError(f"site.name {settings.site.name} is not in the consortium file")
    if member.event_vkey != signer.vkey:
        raise ConfigurationError("keys.event is not the key the consortium knows this site by")
    return Identity(consortium, Trust.from_json(consortium.to_json()), signer)


def _read_consortium(path: Path) -> Consortium:
    try:
        return Consortium.from_bytes(read_text(path, "consortium").encode())
    except RecordError as cause:
        raise ConfigurationError(f"consortium = {path}: {cause}") from cause
