"""Who is calling: the name in the client certificate that TLS has verified.

The one rule: a name comes from the certificate of the very connection and from nowhere else. What
the name may do is decided elsewhere.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol


class CertifiedProtocol(AutoHTTPProtocol):  # type: ignore[misc,valid-type]  # httptools', or h11's
    """HTTP/1.1 whose `request.state.peer` is the caller's certified common name, or none."""

    app_state: dict[str, Any]

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Note the certified name for all requests of this connection."""
        super().connection_made(transport)
        certificate = transport.get_extra_info("peercert")
        self.app_state = {**self.app_state, "peer": common_name(certificate or {})}


def common_name(certificate: dict[str, Any]) -> str | None:
    """The one common name of a certificate as `ssl.SSLSocket.getpeercert` gives it; else none."""
    names = [
        str(value)
        for group in certificate.get("subject", ())
        for key, value in group
        if key == "commonName"
    ]
    return names[0] if len(names) == 1 else None
