"""Which of SuperLink's nodes is which hospital, known by the key each hospital enrolled with.

The one rule: the centre registers the keys it was given when hospitals enrolled, and a node whose
key is not among them does not exist. Keys are files `<site>.pub` in the centre's `nodes` folder, so
that a lost Flower database fills up again by itself. Nothing here knows what nodes do.
"""

import threading
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.proto.control_pb2 import ListNodesRequest, RegisterNodeRequest
from flwr.supercore.control.control_http_client import ControlHttpClient

from services.coordinator.flower_run import control_client
from services.coordinator.grid import GridError
from services.errors import ConfigurationError
from services.superlink import SuperLinkPlace

LOOK_S = 1.0
"""How long a key that was laid into the folder may wait."""

REPEAT_S = 30.0
"""How long nodes may be unknown after SuperLink has lost its database."""

_UNREGISTERED = "unregistered"
_log = structlog.get_logger("nodes")


def write_node_key(folder: Path, site: str, public_key: str) -> Path:
    """Keep the public key that a hospital enrolled with; return its file.

    Raises:
        ConfigurationError: it is no P-384 public key.
    """
    path = folder / f"{site}.pub"
    _as_pem(site, public_key.encode())
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(public_key)
    return path


def read_node_keys(folder: Path) -> dict[str, bytes]:
    """The key of each site that has a file in `folder`, as PEM.

    Raises:
        ConfigurationError: a file holds no P-384 public key.
    """
    return {
        path.stem: _as_pem(path.stem, path.read_bytes()) for path in sorted(folder.glob("*.pub"))
    }


def register_nodes(control: ControlHttpClient, keys: Mapping[str, bytes]) -> dict[str, int]:
    """Make every key known to SuperLink, and return each site's node id.

    Keys that SuperLink knows already keep their node.

    Args:
        control: A client of the Control API.
        keys: Public keys by site, as `read_node_keys` returns them.

    Raises:
        ConfigurationError: two sites have the same key.
        httpx.HTTPError: SuperLink does not answer.
    """
    if len(set(keys.values())) != len(keys):
        raise ConfigurationError("two hospitals enrolled with the same node key")
    known = _known(control)
    missing = [key for key in keys.values() if key not in known]
    for key in missing:
        _register(control, key)
    if missing:
        known = _known(control)
    return {site: known[key] for site, key in keys.items()}


def _known(control: ControlHttpClient) -> dict[bytes, int]:
    """Node ids by key."""
    return {
        node.public_key: int(node.node_id)
        for node in control.ListNodes(ListNodesRequest()).nodes_info
        if node.status != _UNREGISTERED
    }


def _register(control: ControlHttpClient, key: bytes) -> None:
    try:
        control.RegisterNode(RegisterNodeRequest(public_key=key))
    except httpx.HTTPStatusError as error:
        # Door and coordinator both register: the other one may have been first.
        if error.response.status_code != httpx.codes.PRECONDITION_FAILED:
            raise


class Registrar:
    """Keeps SuperLink's list of nodes equal to the folder of keys."""

    def __init__(self, place: SuperLinkPlace, folder: Path) -> None:
        self._place = place
        self._folder = folder
        self._keys: dict[str, bytes] | None = None
        self._looked_at = 0.0
        self.has_registered = threading.Event()
        """Set once SuperLink has been told for the first time."""

    def run(self, stop: threading.Event) -> None:
        """Register what the folder holds, again and again until told to stop."""
        was_refused = False
        while not stop.is_set():
            try:
                self._look(time.monotonic())
                was_refused = False
            except (GridError, ConfigurationError, httpx.HTTPError) as error:
                if not was_refused:
                    _log.warning("nodes cannot be registered yet", why=str(error))
                was_refused = True
            stop.wait(LOOK_S)

    def _look(self, now: float) -> None:
        keys = read_node_keys(self._folder)
        if keys == self._keys and now - self._looked_at < REPEAT_S:
            return
        with control_client(self._place) as control:
            register_nodes(control, keys)
        if keys != self._keys:
            _log.info("nodes registered", sites=sorted(keys))
        self._keys, self._looked_at = keys, now
        self.has_registered.set()


def _as_pem(site: str, content: bytes) -> bytes:
    """The one form that SuperLink compares by, from PEM or OpenSSH."""
    fault = ConfigurationError(
        f"{site}: the node key is no ECDSA P-384 public key (PEM or OpenSSH)"
    )
    is_pem = content.lstrip().startswith(b"-----")
    load = serialization.load_pem_public_key if is_pem else serialization.load_ssh_public_key
    try:
        key = load(content)
    except (ValueError, UnsupportedAlgorithm) as cause:
        raise fault from cause
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise fault
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
