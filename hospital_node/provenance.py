"""Provenance: what this hospital's work was done with, read from what is really installed.

The one rule: a digest is taken of the files and versions in use, never of what somebody says is in
use; what has no source here (the container, its SBOM) stays unsaid.
"""

import hashlib
from functools import lru_cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from hospital_node.admission import Admitted
from hospital_node.imaging.deidentify.profile import NAME, profile_of
from hospital_node.training.features import FEATURES_VERSION
from protocol.provenance import Library, Provenance
from protocol.record import canonical_bytes, sha256_text
from protocol.round import Opening

DEIDENTIFICATION = NAME
"""The rules under which an image counts as fit; training reads its pixels and no header."""

_PACKAGES = ("audit", "hospital_node", "protocol")
"""The code that a hospital runs."""

_LIBRARIES = ("cryptography", "dicom-anonymizer", "monai", "numpy", "opacus", "pydicom", "torch")
"""What the result depends on, by name."""


def provenance_of(admitted: Admitted, opening: Opening) -> Provenance:
    """What an update of this round is made with."""
    plan, ballot = admitted.plan, admitted.ballot
    settings = {
        "plan_id": plan.id,
        "sample_rate": ballot.sample_rate,
        "noise_multiplier": ballot.noise_multiplier,
        "features_version": FEATURES_VERSION,
        "deidentification": profile_of().digest,
    }
    return Provenance(
        model_in=opening.model_digest,
        manifest=ballot.manifest,
        deidentification=DEIDENTIFICATION,
        code_digest=code_digest(),
        libraries=tuple(Library(name=name, version=version(name)) for name in _LIBRARIES),
        config_digest=sha256_text(canonical_bytes(settings)),
        clip_norm=plan.privacy.max_grad_norm,
    )


@lru_cache(maxsize=1)
def code_digest() -> str:
    """The digest of every source file of the installed packages, by path."""
    lines = [
        f"{name}\0{hashlib.sha256(content).hexdigest()}"
        for package in _PACKAGES
        for name, content in _sources(package)
    ]
    return sha256_text("\n".join(lines).encode())


def _sources(package: str) -> list[tuple[str, bytes]]:
    root = Path(str(files(package)))
    found = sorted(path for path in root.rglob("*") if path.suffix in {".py", ".sql"})
    return [(f"{package}/{path.relative_to(root).as_posix()}", path.read_bytes()) for path in found]
