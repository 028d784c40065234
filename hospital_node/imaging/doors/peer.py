"""A peer: another system that speaks DICOM, and an association with it that we asked for.

The one rule: a peer that does not want us is an error that says of which kind it is, so that the
doctor can say what to mend; an association that was opened is released or aborted, never left.
"""

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pynetdicom import AE, build_role

from audit.settings import Tls, split_address
from hospital_node.imaging.doors.errors import DoorSettingsError, PeerError
from hospital_node.imaging.doors.settings import Pacs

_HANDSHAKE_S = 5.0


class Fault(StrEnum):
    """Why there is no association."""

    NO_SUCH_HOST = "no-such-host"
    REFUSED = "refused"
    SILENT = "silent"
    TLS = "tls"
    CALLING_TITLE = "calling-title"
    CALLED_TITLE = "called-title"
    BUSY = "busy"
    REJECTED = "rejected"
    HUNG_UP = "hung-up"
    NOT_DICOM = "not-dicom"
    NO_CONTEXT = "no-context"
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True, slots=True)
class Peer:
    """Where another system is, what it is called, and what we are called there."""

    address: str
    title: str
    calling: str
    """Our own AE title."""
    tls: Tls | None = None
    timeout_s: float = 30.0


def peer_of(pacs: Pacs, calling: str) -> Peer:
    """The PACS of the settings as a peer.

    Raises:
        DoorSettingsError: they do not say where its DICOM port is.
    """
    if pacs.address is None or pacs.ae_title is None:
        raise DoorSettingsError("pacs.address or pacs.ae_title is missing; add them")
    return Peer(pacs.address, pacs.ae_title, calling, pacs.tls, pacs.timeout_s)


@dataclass(frozen=True, slots=True)
class Offer:
    """What we ask for in an association."""

    contexts: Sequence[tuple[Any, Sequence[str]]]
    """SOP classes, each with transfer syntaxes; none means the uncompressed ones."""
    as_scp: Sequence[Any] = ()
    """SOP classes of which we want to be the provider (PS3.7 §D.3.3.4)."""
    listeners: Sequence[tuple[Any, Any]] = ()
    """Events of pynetdicom, each with who is told."""


def client_tls(tls: Tls) -> ssl.SSLContext:
    """TLS that believes one authority and shows our certificate.

    The name in the peer's certificate is not compared: PACS certificates name the machine or the AE
    as their vendor likes, and the authority of this table signs for nothing else (PS3.15 §B.9).

    Raises:
        DoorSettingsError: one of the files is missing or is not what it should be.
    """
    return _loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), tls)


class _LateHandshake(ssl.SSLContext):
    """Shakes hands in the association's own thread, so that a silent caller keeps nobody out."""

    def wrap_socket(self, sock: socket.socket, *args: Any, **options: Any) -> ssl.SSLSocket:
        """As inherited, without shaking hands yet."""
        return super().wrap_socket(sock, *args, **{**options, "do_handshake_on_connect": False})


def server_tls(tls: Tls) -> ssl.SSLContext:
    """TLS that asks every caller for a certificate of one authority.

    Raises:
        DoorSettingsError: one of the files is missing or is not what it should be.
    """
    return _loaded(_LateHandshake(ssl.PROTOCOL_TLS_SERVER), tls)


def _loaded(context: ssl.SSLContext, tls: Tls) -> ssl.SSLContext:
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(tls.ca)
        context.load_cert_chain(tls.certificate, tls.key)
    except OSError as cause:
        raise DoorSettingsError(
            f"tls: {tls.ca}, {tls.certificate} or {tls.key} cannot be used ({cause}); they have to "
            "be PEM files, and the key has to be the certificate's"
        ) from cause
    return context


def check_reachable(peer: Peer) -> None:
    """Pass when the peer's port takes connections, and shakes hands where TLS is set.

    Raises:
        PeerError: with the kind of fault.
    """
    host, port = split_address(peer.address)
    try:
        with socket.create_connection((host, port), peer.timeout_s) as line:
            if peer.tls is not None:
                client_tls(peer.tls).wrap_socket(line).close()
    except socket.gaierror as cause:
        raise PeerError("its host name is not known", Fault.NO_SUCH_HOST) from cause
    except ConnectionRefusedError as cause:
        raise PeerError("nothing listens at its port", Fault.REFUSED) from cause
    except ssl.SSLError as cause:
        raise PeerError("it does not shake hands by TLS", Fault.TLS) from cause
    except TimeoutError as cause:
        raise PeerError("it does not answer", Fault.SILENT) from cause
    except ConnectionError as cause:
        fault = Fault.TLS if peer.tls is not None else Fault.HUNG_UP
        raise PeerError("it hung up", fault) from cause
    except OSError as cause:
        raise PeerError("there is no way to it", Fault.SILENT) from cause


def speaks_tls(address: str) -> bool:
    """Whether a handshake begins there; nothing is believed and nothing sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection(split_address(address), _HANDSHAKE_S) as line:
            context.wrap_socket(line).close()
    except ssl.SSLError as fault:
        # A server that asks for a certificate may end the handshake, and has spoken TLS to do so.
        return "alert" in str(fault).lower()
    except OSError:
        return False
    return True


@contextmanager
def associate(peer: Peer, offer: Offer) -> Iterator[Any]:
    """An association with `peer`; released at the end, or aborted where something was raised.

    Raises:
        PeerError: there is none; `fault` says of which kind.
        DoorSettingsError: the TLS files cannot be used.
    """
    check_reachable(peer)
    association = _request(peer, offer)
    if not association.is_established:
        raise _why_not(association)
    try:
        yield association
    except BaseException:
        association.abort()
        raise
    if association.is_established:
        association.release()


def _request(peer: Peer, offer: Offer) -> Any:
    entity = AE(ae_title=peer.calling)
    entity.acse_timeout = entity.dimse_timeout = entity.connection_timeout = peer.timeout_s
    entity.network_timeout = peer.timeout_s
    for context, syntaxes in offer.contexts:
        entity.add_requested_context(context, list(syntaxes) or None)
    host, port = split_address(peer.address)
    return entity.associate(
        host,
        port,
        ae_title=peer.title,
        ext_neg=[build_role(uid, scp_role=True) for uid in offer.as_scp],
        evt_handlers=[*offer.listeners],
        tls_args=(client_tls(peer.tls), None) if peer.tls is not None else None,
    )


_REFUSALS = {
    (1, 3): (Fault.CALLING_TITLE, "it does not know our AE title"),
    (1, 7): (Fault.CALLED_TITLE, "it does not go by the AE title we called"),
    (3, 1): (Fault.BUSY, "it is congested"),
    (3, 2): (Fault.BUSY, "it has as many associations as it takes"),
}
"""Source and diagnostic of A-ASSOCIATE-RJ (PS3.8 table 9-21)."""


def _why_not(association: Any) -> PeerError:
    if association.is_rejected:
        refusal = association.acceptor.primitive  # set before `is_rejected`, by another thread
        said = (refusal.result_source, refusal.diagnostic)
        fault, text = _REFUSALS.get(said, (Fault.REJECTED, "it rejected the association"))
        return PeerError(text, fault)
    if association.rejected_contexts and association.is_aborted:
        return PeerError("it takes nothing of what we asked for", Fault.NO_CONTEXT)
    return PeerError("it answered the connection and not the association", Fault.HUNG_UP)
