"""Silence: what libraries would say about a peer, its titles and its files stays unsaid.

The one rule: a journal line about a peer is made of our own words, counts and keyed digests. The
libraries' own lines hold titles, addresses with UIDs and values of files, so none comes through.
"""

import logging
import warnings
from pathlib import Path
from traceback import extract_tb

from pynetdicom import _config

_LIBRARIES = ("pynetdicom", "pydicom", "dicomweb_client", "urllib3", "requests", "retrying")


def silence_libraries() -> None:
    """Let no line of a library that speaks DICOM reach this process's journal."""
    _config.LOG_HANDLER_LEVEL = "none"
    for name in _LIBRARIES:
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL + 1)
        logger.propagate = False
    for module in ("pydicom", "pynetdicom", "dicomweb_client"):
        warnings.filterwarnings("ignore", module=module)


def place_of(fault: BaseException) -> str:
    """Where a fault was raised, for the journal; its text may hold a path, a row or a UID."""
    frame = extract_tb(fault.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"
