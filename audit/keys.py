"""Private keys on disk: one line in one file, readable by its owner alone.

The one rule: a key is made where it is used and is never overwritten. What a key may sign is not
known here.
"""

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.errors import KeyFileError, NoteError
from audit.note import Algorithm, Signer, check_key_name

_OWNER_ONLY = 0o600


def create_key(path: Path, name: str) -> str:
    """Make an Ed25519 key called `name`, keep it at `path`, and return its verifier key.

    Raises:
        KeyFileError: the file exists already or cannot be written.
        NoteError: the name cannot name a key.
    """
    return _create(path, name, Algorithm.ED25519)


def create_witness_key(path: Path, name: str) -> str:
    """Make a witness's key (C2SP type 4), keep it at `path`, and return its verifier key.

    Raises:
        KeyFileError: the file exists already or cannot be written.
        NoteError: the name cannot name a key.
    """
    return _create(path, name, Algorithm.COSIGNATURE)


def load_signer(path: Path) -> Signer:
    """The signer whose private key is kept at `path`.

    Raises:
        KeyFileError: the file is unreadable, open to others, or holds no private key.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise KeyFileError(f"{path}: others may read this private key; run chmod 600 on it")
        return Signer.from_text(path.read_text(encoding="utf-8").rstrip("\n"))
    except (OSError, UnicodeDecodeError) as cause:
        raise KeyFileError(f"{path}: the private key cannot be read: {cause}") from cause
    except NoteError as cause:
        raise KeyFileError(f"{path}: {cause}") from cause


def _create(path: Path, name: str, algorithm: Algorithm) -> str:
    signer = Signer(check_key_name(name), Ed25519PrivateKey.generate(), algorithm)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(signer.private_text() + "\n")
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as cause:
        raise KeyFileError(f"{path} exists already; a key is never overwritten") from cause
    except OSError as cause:
        raise KeyFileError(f"{path}: the private key cannot be written: {cause}") from cause
    return signer.vkey
