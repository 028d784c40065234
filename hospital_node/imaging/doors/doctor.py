"""The PACS doctor: does the way to the PACS work, and back; where not, what to mend.

The one rule: every remedy is in words that whoever looks after the PACS can act on, with the names
and addresses of our own settings. Without a test image nothing is written anywhere and no patient's
image moves; with it, one synthetic instance goes to the PACS and comes back.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from audit.settings import split_address
from hospital_node.imaging.doors import trials, web_doctor
from hospital_node.imaging.doors.errors import PeerError
from hospital_node.imaging.doors.findings import Finding, until_unsound
from hospital_node.imaging.doors.peer import Fault, Peer, check_reachable, peer_of, speaks_tls
from hospital_node.imaging.doors.settings import DEFAULT_TITLE, Pacs, Receiver


@dataclass(frozen=True, slots=True)
class Case:
    """The PACS and we, as the settings have us."""

    pacs: Pacs
    receiver: Receiver | None

    @property
    def ours(self) -> str:
        """Our AE title."""
        return self.receiver.ae_title if self.receiver else DEFAULT_TITLE

    @property
    def back(self) -> str:
        """Where the PACS has to find us."""
        if self.receiver is None:
            return "no [receiver]"
        return f"{_own_host(self.peer.address)}, port {split_address(self.receiver.listen)[1]}"

    @property
    def web(self) -> web_doctor.Service | None:
        """The PACS by DICOMweb, where that is how images are fetched."""
        if self.pacs.retrieve != "web" or self.pacs.web is None:
            return None
        return web_doctor.Service(self.pacs.web, self.pacs.timeout_s)

    @property
    def peer(self) -> Peer:
        """The PACS as a peer."""
        return peer_of(self.pacs, self.ours)


def examine(case: Case) -> Iterator[Finding]:
    """Try everything that leaves no trace, each step only where the one before was sound."""
    if case.web is not None:
        yield from web_doctor.examine(case.web)
        return
    steps: list[tuple[str, Callable[[], str]]] = [
        ("reach", lambda: _reach(case)),
        ("echo", lambda: _try(case, trials.echo)),
        ("find", lambda: _try(case, trials.find)),
    ]
    if case.pacs.retrieve == "move":
        steps.append(("move", lambda: _try_move(case, trials.NOBODY)))
    elif case.pacs.retrieve == "get":
        steps.append(("get", lambda: _try(case, trials.offer_get)))
    yield from until_unsound(steps)


def examine_with_image(case: Case) -> Iterator[Finding]:
    """As `examine`, then send a synthetic image, have it committed, and fetch it back."""
    if case.web is not None:
        yield from web_doctor.examine_with_image(case.web)
        return
    sound = True
    for finding in examine(case):
        sound = finding.is_sound
        yield finding
    if not sound:
        return
    image = trials.test_image()
    study = str(image.StudyInstanceUID)
    with ExitStack() as stack:
        heard = _listen(case, stack)
        yield Finding("store", _try(case, lambda peer: trials.store(peer, image)))
        yield Finding("commitment", _try(case, lambda peer: trials.commit(peer, image, heard)))
        yield Finding("get back", _try(case, lambda peer: trials.get(peer, study)))
        if case.receiver is not None:
            yield Finding("move back", _try_move(case, study))


def _reach(case: Case) -> str:
    try:
        check_reachable(case.peer)
    except PeerError as fault:
        return _remedy(case, fault)
    return ""


def _try(case: Case, trial: Callable[[Peer], str]) -> str:
    """What is wrong with a trial: its own words, or those for a peer that does not want us."""
    try:
        said = trial(case.peer)
    except PeerError as fault:
        return _remedy(case, fault)
    return _explained(case, said)


def _try_move(case: Case, study: str) -> str:
    if case.receiver is None:
        return "pacs.retrieve is move and there is no [receiver]; add it, or set retrieve to get"
    with ExitStack() as stack:
        _listen(case, stack)
        return _try(case, lambda peer: trials.move(peer, study))


def _listen(case: Case, stack: ExitStack) -> trials.Heard | None:
    """Listen where the receiver would; none where it does so itself."""
    if case.receiver is None:
        return None
    try:
        return stack.enter_context(trials.listen(case.receiver))
    except OSError:
        return None  # The receiver is up; it is the one that the PACS finds.


def _explained(case: Case, said: str) -> str:
    """A trial's finding with our names and addresses in it."""
    return said.format(
        ours=case.ours, pacs=case.peer.title, address=case.peer.address, back=case.back
    )


def _remedy(case: Case, fault: PeerError) -> str:
    kind = Fault(fault.fault)
    if kind is Fault.TLS:
        return _tls_remedy(case)
    if kind is Fault.HUNG_UP:
        return _hung_up_remedy(case)
    return _explained(case, _REMEDIES[kind])


def _tls_remedy(case: Case) -> str:
    """Why there is no handshake, as far as a second one without checks can tell."""
    if not speaks_tls(case.peer.address):
        return (
            f"{case.peer.address} does not speak TLS; take [pacs.tls] out, or name the PACS's TLS "
            "port (often 2762)"
        )
    return (
        "the PACS shows a certificate that pacs.tls.ca did not sign; put the authority of the "
        "PACS's certificate there"
    )


def _hung_up_remedy(case: Case) -> str:
    if case.pacs.tls is not None:
        return (
            "the PACS ends the connection after the TLS handshake; most likely it does not believe "
            "our certificate: have its authority added at the PACS, or get one from the PACS's own"
        )
    if speaks_tls(case.peer.address):
        return f"{case.peer.address} speaks TLS; add [pacs.tls], or name the port without TLS"
    return _explained(case, _REMEDIES[Fault.HUNG_UP])


def _own_host(address: str) -> str:
    """The address of this machine on the way to `address`; nothing is sent."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
            line.connect(split_address(address))
            return str(line.getsockname()[0])
    except OSError:
        return "this machine's address"


_REMEDIES: dict[Fault, str] = {
    Fault.NO_SUCH_HOST: (
        "the host name in pacs.address = {address} is not known here; write it as the hospital's "
        "DNS has it, or give the IP address"
    ),
    Fault.REFUSED: (
        "nothing listens at pacs.address = {address}; check host and port (often 104 or 11112), "
        "and that the PACS is up"
    ),
    Fault.SILENT: (
        "pacs.address = {address} does not answer; check the host, and have the firewall let this "
        "machine through to that port"
    ),
    Fault.CALLING_TITLE: (
        "the PACS does not know us; have its staff add AE title {ours} (letter by letter, capitals "
        "count) at {back}"
    ),
    Fault.CALLED_TITLE: (
        "the PACS does not go by pacs.ae_title = {pacs}; ask its staff for its AE title (capitals "
        "count)"
    ),
    Fault.BUSY: "the PACS has no association to spare; try later, or have its limit raised",
    Fault.REJECTED: (
        "the PACS rejects the association and does not say why; ask its staff what its log says of "
        "{ours} at {back}"
    ),
    Fault.HUNG_UP: (
        "the PACS takes the connection and then hangs up. The usual cause is that it does not list "
        "AE title {ours}, or lists it with another host than ours: have its entry read {ours} at "
        "{back}. Another is that {address} is no DICOM port"
    ),
    Fault.NOT_DICOM: "{address} answers and does not speak DICOM; name the PACS's DICOM port",
    Fault.NO_CONTEXT: (
        "the PACS takes none of what was asked for; have its staff allow {ours} this service"
    ),
}
