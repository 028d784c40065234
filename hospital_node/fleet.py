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

LONGEST_SLEEP_S = 0.5
"""Between two questions to the centre. Each costs SuperLink a signature check and a query."""


class Pace:
    """Stands in for the module `time` where SuperNode sleeps between two questions."""

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s

    def sleep(self, seconds: float) -> None:
        """Sleep, but not for longer than the pace allows."""
        time.sleep(min(seconds, self._longest_s))


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
    vars(start_client_internal)["time"] = Pace(LONGEST_SLEEP_S)
    sys.argv = ["flower-supernode", *arguments]
    flower_supernode()
