"""This hospital's Flower ClientApp: a message becomes order and array, the answer a message.

The one rule: it decides nothing. What may be done is decided by whoever answers; this module only
reads two shapes of bytes and writes the same two. `services.coordinator.wire` is the other end.
"""

from collections.abc import Callable

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from protocol.errors import ProtocolError
from protocol.update import Packed

HEADER = "header"
PACKED = "packed"
STYPE = "wardround.packed.v1"
"""Plain little-endian float32."""

Answerer = Callable[[bytes, Packed], tuple[bytes, Packed | None]]
"""What the hospital does with an order: the bytes of its answer, and the packed update, if any."""


class MessageError(ProtocolError):
    """A message from the centre has not the shape that was agreed."""


def make_client_app(answer: Answerer) -> ClientApp:
    """The ClientApp that hands every order to `answer`."""
    app = ClientApp()

    @app.query()
    def _query(message: Message, _context: Context) -> Message:
        header, packed = decode(message.content)
        return Message(encode(*answer(header, packed)), reply_to=message)

    return app


def decode(content: RecordDict) -> tuple[bytes, Packed]:
    """Order and packed array of a message's content; the array may be written to.

    Raises:
        MessageError: the content has another shape.
    """
    config, record = content.get(HEADER), content.get(PACKED)
    header = config.get(HEADER) if isinstance(config, ConfigRecord) else None
    if not isinstance(header, bytes) or not isinstance(record, ArrayRecord):
        raise MessageError("expected a header in bytes and a packed array")
    if set(record) != {PACKED} or record[PACKED].stype != STYPE or len(record[PACKED].data) % 4:
        raise MessageError(f"expected one array as {STYPE}, in whole float32 numbers")
    return header, np.frombuffer(record[PACKED].data, dtype="<f4").copy()


def encode(header: bytes, packed: Packed | None) -> RecordDict:
    """A message's content."""
    content = RecordDict({HEADER: ConfigRecord({HEADER: header})})
    if packed is not None:
        plain = np.ascontiguousarray(packed, dtype="<f4")
        array = Array("float32", plain.shape, STYPE, plain.tobytes())
        content[PACKED] = ArrayRecord({PACKED: array})
    return content
