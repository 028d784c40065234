"""Who is calling: the name in the client certificate that TLS has verified.

uvicorn verifies certificates and then forgets them; this protocol class keeps the name.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


class CertifiedProtocol(H11Protocol):
    """HTTP/1.1 whose `request.state.peer` is the caller's certified common name, or none."""

    def connection_made(  # type: ignore[override]  # uvicorn narrows the transport likewise
        self, transport: asyncio.Transport
    ) -> None:
        """Note the certified name for all requests of this connection."""
        super().connection_made(transport)
        certificate = transport.get_extra_info("peercert")
        self.app_state = {**self.app_state, "peer": common_name(certificate or {})}


def common_name(certificate: dict[str, Any]) -> str | None:
    """The common name of a certificate as `ssl.SSLSocket.getpeercert` gives it."""
    for group in certificate.get("subject", ()):
        for key, value in group:
            if key == "commonName":
                return str(value)
    return None
