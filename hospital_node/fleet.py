"""Flower's SuperNode, put right in two places before it runs.

SuperNode 1.41 cannot show a client certificate, and it looks for work every 3 s. The one rule: both
are changed from outside, by giving two of its modules another client class and another `sleep`, and
nothing else of it is touched. A connector process beside it would have done without, at the price
of one more listener, one more encryption of every byte and one more thing to supervise.
"""

import ssl
import sys
import time
from collections.abc import Sequence
from typing import Self

from flwr.supercore.protobuf.client import ProtobufClientInterceptor
from flwr.supercore.retry import RetryInvoker
from flwr.supernode import fleet_http_connection, start_client_internal
from flwr.supernode.cli import flower_supernode
from flwr.supernode.fleet_http_client import FleetHttpClient

FASTER = 6
"""SuperNode sleeps 3 s between two questions to the centre, and 0.5 s between two looks at its own
memory. Each question costs SuperLink some 15 ms, so that half a second leaves room for thirty."""


class Pace:
    """Stands in for the module `time` where SuperNode sleeps between two questions."""

    @staticmethod
    def sleep(seconds: float) -> None:
        """Sleep a fraction of what is asked."""
        time.sleep(seconds / FASTER)


def certified_client(context: ssl.SSLContext) -> type[FleetHttpClient]:
    """A class of Fleet client that shows the certificate in `context`."""

    class CertifiedFleetClient(FleetHttpClient):
        """Speaks to the door; never without TLS, and never with another certificate."""

        @classmethod
        def from_server_address(  # noqa: PLR0917 - as inherited
            cls,
            server_address: str,
            insecure: bool,
            root_certificates: bytes | str | None,
            interceptors: Sequence[ProtobufClientInterceptor],
            *,
            retry_invoker: RetryInvoker | None = None,
        ) -> Self:
            """A client of the door; the context says whom it believes."""
            del insecure, root_certificates
            return cls(
                f"https://{server_address}",
                interceptors=interceptors,
                verify=context,
                retry_invoker=retry_invoker,
            )

    return CertifiedFleetClient


def run_supernode(arguments: list[str], context: ssl.SSLContext) -> None:
    """Run SuperNode in this process until it is told to stop; it then exits the process."""
    vars(fleet_http_connection)["FleetHttpClient"] = certified_client(context)
    vars(start_client_internal)["time"] = Pace()
    sys.argv = ["flower-supernode", *arguments]
    flower_supernode()
