"""The code bundle of every run, which holds no code.

The one rule: its bytes never change, so that hospitals can name its digest on their allow-lists and
refuse every other. Flower wants a bundle to start a run; ours only names the parts that each party
has installed itself, and no party unpacks it.
"""

import io
import zipfile

from protocol.record import sha256_text

_MANIFEST = """\
[project]
name = "wardround"
version = "1.0.0"
description = "Names what centre and hospitals have installed; holds no code."
license = "Apache-2.0"

[tool.flwr.app]
publisher = "wardround"

[tool.flwr.app.components]
serverapp = "services.coordinator.flower_grid:open_grid"
clientapp = "hospital_node.client_app:make_client_app"
"""

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The first moment that a ZIP archive can state."""


def build_bundle() -> bytes:
    """The bundle: a ZIP archive of one stored, undated file, the same bytes on every machine."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        entry = zipfile.ZipInfo("pyproject.toml", _EPOCH)
        entry.create_system = 3  # Unix, wherever it is built
        archive.writestr(entry, _MANIFEST)
    return content.getvalue()


def fab_digest() -> str:
    """The bundle's digest, as a hospital's allow-list (`flower.fab_digests`) names it."""
    return sha256_text(build_bundle())
