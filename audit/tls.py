"""TLS of the listeners, in the words of the server that runs them.

The one rule: what cannot be loaded is found before the port opens, and said with the names of its
settings.
"""

import ssl
from pathlib import Path

from audit.settings import SettingsError


def server_tls(
    setting: str, *, certificate: Path, key: Path, ca: Path | None = None
) -> dict[str, object]:
    """Uvicorn's TLS settings; with `ca`, whoever connects must show a certificate of it.

    Raises:
        SettingsError: a certificate or key cannot be loaded.
    """
    try:
        trial = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trial.load_cert_chain(certificate, key)
        if ca is not None:
            trial.load_verify_locations(ca)
    except (OSError, ssl.SSLError) as cause:
        files = {"ca": ca, "certificate": certificate, "key": key}
        named = ", ".join(f"{name} = {path}" for name, path in files.items() if path is not None)
        raise SettingsError(f"{setting}: cannot load {named}: {cause}") from cause
    own = {"ssl_certfile": certificate, "ssl_keyfile": key}
    if ca is None:
        return {**own}
    return {**own, "ssl_ca_certs": str(ca), "ssl_cert_reqs": ssl.CERT_REQUIRED}
