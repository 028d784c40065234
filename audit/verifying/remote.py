"""A log at an address: a C2SP tlog-tiles log over HTTPS, fetched file by file as it is checked.

The one rule: a server may be hostile, so whatever it sends has a bound in bytes and in time, and
nothing is believed because it was fetched. Nothing is kept either: every run fetches again.
"""

import http.client
import ssl
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Self
from urllib.parse import urlsplit

from audit.entry import MAX_ENTRY_BYTES
from audit.errors import EvidenceError
from audit.evidence import CHECKPOINT, narrow, read_utf8
from audit.merkle import HASH_BYTES
from audit.note import MAX_NOTE_CHARACTERS
from audit.tiles import TILE_WIDTH, TileName

WITNESSED = "v1/checkpoint/witnessed"
"""Where a Wardround log shows its last checkpoint that has the quorum; others have no such file."""

_MAX_NOTE_BYTES = 4 * MAX_NOTE_CHARACTERS
_MAX_TOTAL_BYTES = 64 * 2**30
"""Some fifty million entries; beyond, take the evidence as a file."""

_CONNECT_S = 20.0
_FILE_S = 120.0
"""For one file of at most 17 MB; a server that drips one byte at a time is left."""

_CHUNK_BYTES = 64 * 2**10
_PACKING_BYTES = 2**14
"""What gzip adds to content that does not compress, such as hashes, or an error's own page."""

_ABSENT = (404, 410)
_FAULTS = (http.client.HTTPException, OSError, zlib.error, ValueError)
"""What can be wrong with a connection, an answer or an address."""


class UrlLog:
    """A log behind an HTTPS address, open for reading."""

    def __init__(
        self, url: str, context: ssl.SSLContext, *, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment:
            raise EvidenceError(f"{url!r} is no address of a log; expected https://host/prefix")
        self._url = url.rstrip("/")
        self._prefix = parts.path.rstrip("/")
        self._clock_s = clock_s
        self._http = _connection(url, context)
        self.files = 0
        """Files fetched so far."""
        self.size_bytes = 0
        """Bytes fetched so far."""
        self.checkpoint_note = ""
        self.consortium_bytes: bytes | None = None
        """None: an address hands out a log, and no keys to believe."""

    @classmethod
    def open(cls, url: str, context: ssl.SSLContext) -> Self:
        """The log at `url`, once its checkpoint has been fetched.

        Raises:
            EvidenceError: the address is none, cannot be reached, or shows no checkpoint.
        """
        log = cls(url, context)
        note = log._fetch(CHECKPOINT, _MAX_NOTE_BYTES)
        if note is None:
            raise EvidenceError(f"{url} shows no file {CHECKPOINT}; it is no tlog-tiles log")
        log.checkpoint_note = read_utf8(note)
        return log

    def turn_to_witnessed(self) -> bool:
        """Look at the last checkpoint that has the quorum instead, where the server shows one."""
        note = self._fetch(WITNESSED, _MAX_NOTE_BYTES)
        if note is not None:
            self.checkpoint_note = read_utf8(note)
        return note is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def read(self, name: TileName) -> bytes | None:
        """The bytes of a tile or bundle; a full one serves where a partial one is gone."""
        content = self._fetch(name.path, _limit(name))
        if content is not None or name.width == TILE_WIDTH:
            return content
        whole = TileName(name.level, name.index)
        full = self._fetch(whole.path, _limit(whole))
        return None if full is None else narrow(full, name)

    def damaged(self) -> Iterator[str]:
        """Nothing: an address has no manifest."""
        return iter(())

    def _fetch(self, path: str, limit_bytes: int) -> bytes | None:
        """The content of a file, or none where there is none."""
        try:
            content = self._get(path, limit_bytes)
        except _FAULTS as cause:
            raise EvidenceError(
                f"{self._url}/{path} cannot be fetched: {cause or type(cause).__name__}"
            ) from cause
        if content is not None:
            self.files += 1
            self.size_bytes += len(content)
        if self.size_bytes > _MAX_TOTAL_BYTES:
            raise EvidenceError(f"{self._url} has sent more than {_MAX_TOTAL_BYTES} bytes")
        return content

    def _get(self, path: str, limit_bytes: int) -> bytes | None:
        answer = self._ask(path)
        body = self._read(answer, path, limit_bytes + _PACKING_BYTES)
        if answer.status in _ABSENT:
            return None
        if answer.status != http.client.OK:
            raise EvidenceError(
                f"{self._url}/{path}: the server answers {answer.status}; expected the file itself"
            )
        encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding == "identity" and len(body) <= limit_bytes:
            return body
        if encoding == "identity":
            raise self._excess(path, limit_bytes)
        if encoding != "gzip":
            raise EvidenceError(f"{self._url}/{path} comes as {encoding!r}; expected gzip or as is")
        return self._unpack(body, path, limit_bytes)

    def _ask(self, path: str) -> http.client.HTTPResponse:
        try:
            return self._request(path)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            self._http.close()  # an idle connection was let go; a second fault is a fault
            return self._request(path)

    def _request(self, path: str) -> http.client.HTTPResponse:
        headers = {"Accept-Encoding": "gzip, identity", "User-Agent": "wardround-verifier"}
        self._http.request("GET", f"{self._prefix}/{path}", headers=headers)
        return self._http.getresponse()

    def _read(self, answer: http.client.HTTPResponse, path: str, limit_bytes: int) -> bytes:
        deadline = self._clock_s() + _FILE_S
        body = bytearray()
        while chunk := answer.read1(_CHUNK_BYTES):
            body += chunk
            if len(body) > limit_bytes:
                raise self._excess(path, limit_bytes)
            if self._clock_s() > deadline:
                raise EvidenceError(f"{self._url}/{path} does not end within {_FILE_S:g} s")
        if answer.length:
            raise EvidenceError(f"{self._url}/{path} is cut short by {answer.length} bytes")
        answer.close()  # only now is the connection free for the next file
        return bytes(body)

    def _unpack(self, body: bytes, path: str, limit_bytes: int) -> bytes:
        packed = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        content = packed.decompress(body, limit_bytes + 1)
        if len(content) > limit_bytes:
            raise self._excess(path, limit_bytes)
        if not packed.eof or packed.unused_data:
            raise EvidenceError(f"{self._url}/{path} is not one whole gzip stream")
        return content

    def _excess(self, path: str, limit_bytes: int) -> EvidenceError:
        return EvidenceError(
            f"{self._url}/{path} has more than the {limit_bytes} bytes it may have"
        )


def tls_context(
    ca: str | None = None, certificate: str | None = None, key: str | None = None
) -> ssl.SSLContext:
    """Whom to believe at an address (an authority's file, else the system's) and what to show.

    Raises:
        EvidenceError: a file cannot be read or is of another kind.
    """
    try:
        context = ssl.create_default_context(cafile=ca)
        if certificate:
            context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as cause:
        raise EvidenceError(
            f"cannot load --ca {ca}, --certificate {certificate}, --key {key}: {cause}"
        ) from cause
    return context


def _limit(name: TileName) -> int:
    """The most bytes that a tile or bundle of this width has."""
    each = HASH_BYTES if name.level is not None else 2 + MAX_ENTRY_BYTES
    return name.width * each


def _connection(url: str, context: ssl.SSLContext) -> http.client.HTTPSConnection:
    try:
        parts = urlsplit(url)
        return http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=_CONNECT_S, context=context
        )
    except _FAULTS as cause:
        raise EvidenceError(f"{url!r} is no address of a log: {cause}") from cause
