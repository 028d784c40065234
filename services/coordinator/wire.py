"""A packed array and its header, as one Flower message and back.

The one rule: what comes back from a site is read as bytes of the two shapes agreed here, or not at
all; nothing in it is executed, unpickled or believed. `hospital_node.client_app` is the other end.
"""

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from protocol.update import Packed

HEADER = "header"
PACKED = "packed"
STYPE = "wardround.packed.v1"
"""Plain little-endian float32; Flower's own kind would wrap each array in a NumPy file."""


class WireError(Exception):
    """A message has not the shape that was agreed."""


def array_record(packed: Packed) -> ArrayRecord:
    """The array as Flower carries it; one record serves the messages to every site."""
    plain = np.ascontiguousarray(packed, dtype="<f4")
    return ArrayRecord({PACKED: Array("float32", plain.shape, STYPE, plain.tobytes())})


def encode(header: bytes, record: ArrayRecord) -> RecordDict:
    """A message's content."""
    return RecordDict({HEADER: ConfigRecord({HEADER: header}), PACKED: record})


def decode(content: RecordDict) -> tuple[bytes, Packed | None]:
    """Header and packed array of a message's content; the array is read-only.

    Raises:
        WireError: the content has another shape.
    """
    odd = set(content) - {HEADER, PACKED}
    config = content.get(HEADER)
    header = config.get(HEADER) if isinstance(config, ConfigRecord) else None
    if odd or not isinstance(header, bytes):
        raise WireError("expected a header in bytes and at most one packed array")
    record = content.get(PACKED)
    if record is None:
        return header, None
    if not isinstance(record, ArrayRecord) or set(record) != {PACKED}:
        raise WireError("expected one packed array")
    array = record[PACKED]
    if array.stype != STYPE or len(array.data) % 4:
        raise WireError(f"expected the array as {STYPE}, in whole float32 numbers")
    return header, np.frombuffer(array.data, dtype="<f4")
