"""The `add-checkpoint` request of C2SP tlog-witness: a checkpoint and the proof that leads to it.

The one rule: the text has one spelling, and nothing in it is believed here. Who is asked, and what
is answered, is known to the witness and to the log that asks.
"""

from dataclasses import dataclass
from typing import Self

from audit.checkpoint import Checkpoint, parse_decimal
from audit.errors import NoteError
from audit.merkle import HASH_BYTES
from audit.note import MAX_NOTE_CHARACTERS, Note, decode_base64, encode_base64

PATH = "/add-checkpoint"
"""Below a witness's submission prefix."""

SIZE_TYPE = "text/x.tlog.size"
"""Content type of the answer that names the size a witness cosigned last."""

MAX_PROOF_LINES = 63

MAX_REQUEST_BYTES = 4 * MAX_NOTE_CHARACTERS
"""A note of the longest kind in UTF-8; the proof adds 3 kB."""

_OLD = "old "


@dataclass(frozen=True, slots=True)
class Addition:
    """A checkpoint put before a witness: from which size, by which proof."""

    old_size: int
    proof: tuple[bytes, ...]
    note: str

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """The request that a body spells.

        Raises:
            NoteError: it is none.
        """
        if len(content) > MAX_REQUEST_BYTES:
            raise NoteError(f"a request of more than {MAX_REQUEST_BYTES} bytes")
        try:
            head, gap, note = content.decode("utf-8").partition("\n\n")
        except UnicodeDecodeError as cause:
            raise NoteError("the request is not UTF-8 text") from cause
        first, *lines = head.split("\n")
        if not gap or not first.startswith(_OLD) or len(lines) > MAX_PROOF_LINES:
            raise NoteError(
                f"expected a line 'old SIZE', at most {MAX_PROOF_LINES} lines of proof, "
                "an empty line and a checkpoint"
            )
        proof = tuple(decode_base64(line) for line in lines)
        if any(len(part) != HASH_BYTES for part in proof):
            raise NoteError(f"a hash of the proof has not {HASH_BYTES} bytes")
        Checkpoint.parse(Note.parse(note).text)
        return cls(parse_decimal(first.removeprefix(_OLD)), proof, note)

    def format(self) -> bytes:
        """The request's body."""
        lines = [f"{_OLD}{self.old_size}", *(encode_base64(part) for part in self.proof), ""]
        return ("\n".join(lines) + "\n" + self.note).encode()
