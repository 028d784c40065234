"""Which of SuperLink's nodes is which hospital, known by the key each hospital enrolled with.

The one rule: the centre registers the keys it was given when hospitals enrolled, and a node whose
key is not among them does not exist. Keys are files `<site>.pub` in the centre's `nodes` folder, so
that a lost Flower database is rebuilt by starting again. Nothing here knows what nodes do.
"""

from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.proto.control_pb2 import ListNodesRequest, RegisterNodeRequest
from flwr.supercore.control.control_http_client import ControlHttpClient

from services.errors import ConfigurationError

_UNREGISTERED = "unregistered"


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
    known = {
        node.public_key: int(node.node_id)
        for node in control.ListNodes(ListNodesRequest()).nodes_info
        if node.status != _UNREGISTERED
    }
    return {site: known.get(key) or _register(control, key) for site, key in keys.items()}


def _register(control: ControlHttpClient, key: bytes) -> int:
    return int(control.RegisterNode(RegisterNodeRequest(public_key=key)).node_id)


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
