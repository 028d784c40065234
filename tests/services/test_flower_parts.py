"""The bundle, the wire and the node keys: what the grid over Flower is made of."""

import io
import socket
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from flwr.common.config import get_fab_config
from hypothesis import given
from hypothesis import strategies as st

from audit.settings import SettingsError
from hospital_node import client_app
from services.coordinator import wire
from services.coordinator.bundle import build_bundle, fab_digest
from services.coordinator.nodes import read_node_keys, write_node_key
from services.errors import ConfigurationError
from services.superlink import SuperLinkPlace, check_port_free, command, prepare

NUMBERS = st.lists(st.floats(width=32, allow_nan=False), max_size=50)


def test_the_bundle_never_changes() -> None:
    # Hospitals have this digest on their allow-lists: a change needs their consent.
    assert fab_digest() == "sha256:1f38666f46b5b2f2599ce42b13d94368c93172e096b4b8b10d23cb8aebafe23f"


def test_the_bundle_holds_no_code_and_flower_takes_it() -> None:
    bundle = build_bundle()
    assert zipfile.ZipFile(io.BytesIO(bundle)).namelist() == ["pyproject.toml"]
    assert get_fab_config(bundle)["project"]["name"] == "wardround"


@given(st.binary(max_size=200), NUMBERS)
def test_what_the_centre_sends_the_hospital_reads(header: bytes, numbers: list[float]) -> None:
    packed = np.array(numbers, dtype="<f4")
    read_header, read = client_app.decode(wire.encode(header, wire.array_record(packed)))
    assert read_header == header
    assert read.tobytes() == packed.tobytes()
    assert read.flags.writeable


@given(st.binary(max_size=200), st.none() | NUMBERS)
def test_what_the_hospital_sends_the_centre_reads(
    header: bytes, numbers: list[float] | None
) -> None:
    packed = None if numbers is None else np.array(numbers, dtype="<f4")
    read_header, read = wire.decode(client_app.encode(header, packed))
    assert read_header == header
    assert (read is None) == (packed is None)
    if read is not None and packed is not None:
        assert read.tobytes() == packed.tobytes()


def _array(stype: str = wire.STYPE, data: bytes = b"\0" * 8) -> ArrayRecord:
    return ArrayRecord({wire.PACKED: Array("float32", (2,), stype, data)})


_HEADER = ConfigRecord({wire.HEADER: b"h"})


@pytest.mark.parametrize(
    "content",
    [
        RecordDict(),
        RecordDict({wire.PACKED: _array()}),
        RecordDict({wire.HEADER: ConfigRecord({wire.HEADER: "text"})}),
        RecordDict({wire.HEADER: _HEADER, "more": _HEADER}),
        RecordDict({wire.HEADER: _HEADER, wire.PACKED: _HEADER}),
        RecordDict({wire.HEADER: _HEADER, wire.PACKED: _array(stype="numpy.ndarray")}),
        RecordDict({wire.HEADER: _HEADER, wire.PACKED: _array(data=b"\0" * 7)}),
        RecordDict({wire.HEADER: _HEADER, wire.PACKED: ArrayRecord()}),
    ],
)
def test_a_message_of_another_shape_is_not_read(content: RecordDict) -> None:
    with pytest.raises(wire.WireError):
        wire.decode(content)


def _public(curve: ec.EllipticCurve, form: str) -> str:
    key = ec.generate_private_key(curve).public_key()
    if form == "ssh":
        encoding, shape = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    else:
        encoding = serialization.Encoding.PEM
        shape = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(encoding, shape).decode()


@pytest.mark.parametrize("form", ["ssh", "pem"])
def test_a_node_key_is_kept_in_either_form_and_read_in_one(tmp_path: Path, form: str) -> None:
    write_node_key(tmp_path / "nodes", "north", _public(ec.SECP384R1(), form))
    assert read_node_keys(tmp_path / "nodes")["north"].startswith(b"-----BEGIN PUBLIC KEY-----")


@pytest.mark.parametrize("text", ["", "ssh-rsa AAAA", _public(ec.SECP256R1(), "pem")])
def test_a_key_of_another_kind_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match="north: the node key is no ECDSA P-384"):
        write_node_key(tmp_path / "nodes", "north", text)
    assert read_node_keys(tmp_path / "nodes") == {}


def test_superlink_is_on_loopback_and_its_secrets_are_the_centres_alone(tmp_path: Path) -> None:
    place = SuperLinkPlace(tmp_path / "superlink", 9000)
    prepare(place, now=datetime.now(UTC))
    line = command(place)
    assert line[line.index("--host") + 1] == "127.0.0.1"
    for path in (place.secret, place.key):
        assert path.stat().st_mode & 0o077 == 0
    kept = place.secret.read_bytes(), place.certificate.read_bytes()
    prepare(place, now=datetime.now(UTC))
    assert (place.secret.read_bytes(), place.certificate.read_bytes()) == kept


def test_a_taken_port_is_named_with_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"superlink.port = {port}: port {port}"):
            check_port_free(port, "superlink.port")
