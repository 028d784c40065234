"""Copying: the de-identified copy of one file, made in a child process that can be lost.

The one rule kept here: a copy is made only of what a scan would have indexed. The child is given
the file's bytes and the key for copies, and no path; what it answers is a copy or a reason.
"""

import os
import resource
import subprocess
import sys
import warnings

import numpy as np
from pydicom import config, dcmread
from pydicom.filebase import DicomBytesIO

from hospital_node.imaging.clearing import clear_file
from hospital_node.imaging.deidentify.clear import copy_of
from hospital_node.imaging.deidentify.gate import may_show_identity
from hospital_node.imaging.deidentify.profile import profile_of
from hospital_node.imaging.deidentify.rescan import Left
from hospital_node.imaging.errors import CopyError
from hospital_node.imaging.pixels import iter_frames
from hospital_node.imaging.quarantine import EXPLANATIONS, Reason
from hospital_node.imaging.reading import Fault, inspect_file

_TIME_S = 120.0
_MEMORY_BYTES = 4 * 1024**3
"""A file, its decoded frames and the copy of them, all at once."""

_KEY_BYTES = 32
_COPY, _REASON = b"+", b"-"


def make_copy(content: bytes, key: bytes) -> bytes:
    """The de-identified copy of a file.

    Args:
        content: the file's bytes; untrusted.
        key: `copies_key` of the hospital's pseudonym key.

    Raises:
        CopyError: a scan would not index the file, or the child failed over it.
    """
    command = [sys.executable, "-m", "hospital_node.imaging.copying"]
    names = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LANG")
    try:
        done = subprocess.run(
            command,
            input=key + content,
            capture_output=True,
            timeout=_TIME_S,
            check=False,
            env={name: os.environ[name] for name in names if name in os.environ},
        )
    except subprocess.TimeoutExpired as cause:
        raise CopyError(f"no copy: {EXPLANATIONS[Reason.TOO_SLOW]}") from cause
    kind, body = done.stdout[:1], done.stdout[1:]
    if kind == _COPY:
        return body
    reason = body.decode("ascii", "replace")
    known = Reason(reason) if reason in set(Reason) else Reason.READER_DIED
    raise CopyError(f"no copy: {EXPLANATIONS[known]}")


def _copied(content: bytes, key: bytes) -> bytes | Reason:
    """The copy, or why there is none; a release by a person is not known here."""
    facts = inspect_file(content)
    if isinstance(facts, Fault):
        return facts.reason
    if may_show_identity(facts.annotation, modality=facts.modality, sop_class=facts.sop_class):
        return Reason.BURNED_IN
    cleared = clear_file(content)
    if isinstance(cleared, Fault):
        return cleared.reason
    instance = dcmread(DicomBytesIO(content))
    frames = list(iter_frames(instance))
    stored = frames[0] if len(frames) == 1 else np.stack(frames)
    made = copy_of(instance, stored, key=key, profile=profile_of())
    return Reason.IDENTIFIER_LEFT if isinstance(made, Left) else made


def main() -> None:
    """Answer once: a key and a file on standard input, a copy or a reason on standard output."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    warnings.simplefilter("ignore")
    config.settings.reading_validation_mode = config.IGNORE
    key, content = sys.stdin.buffer.read(_KEY_BYTES), sys.stdin.buffer.read()
    made = _copied(content, key)
    with answers:
        answers.write(_REASON + made.encode() if isinstance(made, Reason) else _COPY + made)


if __name__ == "__main__":
    main()
