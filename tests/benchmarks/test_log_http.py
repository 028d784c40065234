"""How many events a second the whole service takes in over HTTPS, one in each request.

Sixty-four members, each with its own certificate, key, chain and kept-alive TLS connection, each
waiting until its entry is durable under a signed checkpoint before it sends the next. The load
comes from this process, on the same machine, with nothing above asyncio.
"""

import asyncio
import json
import os
import ssl
import time
from pathlib import Path

import psycopg
import uvloop
from audit_parties import (
    Certificates,
    Consortium,
    Said,
    free_port,
    new_signer,
    running_service,
    write_config,
)
from bars import record

from audit.checkpoint import Checkpoint
from audit.note import Note
from audit.ordering.store import latest_checkpoint
from audit.settings import Tls

CALLERS = 64
EVENTS = 100
"""Of each caller."""
WARM_UP = 5
BAR = 2000
BODY = {"note": "x" * 250}
"""Makes an entry of about 700 bytes, as the real ones are."""


class Caller(asyncio.Protocol):
    """One member's connection: sends an entry when the one before was answered."""

    def __init__(self, entries: list[bytes]) -> None:
        self._requests = [_request(entry) for entry in entries]
        self.answers: list[bytes] = []
        self.latencies_s: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answer = b""
        self._sent_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def go(self, until: int) -> asyncio.Future[None]:
        """Send until so many are answered."""
        self._until = until
        self.done = asyncio.get_running_loop().create_future()
        self._send()
        return self.done

    def _send(self) -> None:
        self._sent_s = time.perf_counter()
        self._transport.write(self._requests[len(self.answers)])

    def data_received(self, data: bytes) -> None:
        self._answer += data
        _, gap, body = self._answer.partition(b"\r\n\r\n")
        if not gap or not body.endswith(b"}"):
            return
        self.latencies_s.append(time.perf_counter() - self._sent_s)
        self.answers.append(self._answer)
        self._answer = b""
        if len(self.answers) < self._until:
            self._send()
        else:
            self.done.set_result(None)

    def connection_lost(self, fault: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(fault or ConnectionResetError("the service hung up"))


def _request(entry: bytes) -> bytes:
    head = (
        "POST /v1/events?wait=integrated HTTP/1.1\r\nHost: log\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(entry)}\r\n\r\n"
    )
    return head.encode() + entry


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca)
    context.load_cert_chain(tls.certificate, tls.key)
    return context


async def _run(port: int, contexts: list[ssl.SSLContext], entries: list[list[bytes]]):
    loop = asyncio.get_running_loop()
    callers = []
    for context, own in zip(contexts, entries, strict=True):
        _, caller = await loop.create_connection(
            lambda own=own: Caller(own),
            "127.0.0.1",
            port,
            ssl=context,
            server_hostname="127.0.0.1",
        )
        callers.append(caller)
    await asyncio.gather(*(caller.go(WARM_UP) for caller in callers))
    start, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller.go(EVENTS) for caller in callers))
    return callers, time.perf_counter() - start, time.process_time() - used


def test_append_over_https(durable: str, tmp_path: Path) -> None:
    names = [f"member-{number:02}" for number in range(CALLERS)]
    signers = {name: new_signer(f"north/{name}") for name in ("audit", *names)}
    north = Consortium(events=signers, quorum=0)
    certificates = Certificates(tmp_path)
    contexts = [_context(certificates.issue(name)) for name in names]
    chains = [north.chain(name) for name in names]
    entries = [[chain.next(Said(body=BODY)) for _ in range(EVENTS)] for chain in chains]
    port = free_port()
    own = certificates.issue("audit")
    config = write_config(tmp_path, north, tls=own, dsn=durable, port=port)
    load_before = os.getloadavg()[0]
    with running_service(config, port) as service:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            callers, took_s, used_s = runner.run(_run(port, contexts, entries))
        service.process.terminate()
        service.process.wait(10)
    answers = [answer for caller in callers for answer in caller.answers]
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
    indices = [json.loads(answer.partition(b"\r\n\r\n")[2])["indices"][0] for answer in answers]
    assert sorted(indices) == list(range(CALLERS * EVENTS))
    with psycopg.connect(durable) as connection:
        size, note = latest_checkpoint(connection) or (0, "")
        row = connection.execute("SELECT count(*) FROM audit_checkpoint").fetchone()
    assert size == Checkpoint.parse(Note.parse(note).text).size == CALLERS * EVENTS
    timed = CALLERS * (EVENTS - WARM_UP)
    latencies = sorted(s for caller in callers for s in caller.latencies_s[WARM_UP:])
    half_ms, most_ms = (1e3 * latencies[len(latencies) * part // 100] for part in (50, 99))
    batches = (row or (2,))[0] - 1
    rate = timed / took_s
    record(
        f"append over HTTPS, {CALLERS} callers, one event a request, durable and signed",
        f"{rate:,.0f}/s (load {load_before:.1f})",
        bar=f"≥ {BAR:,}/s",
        is_met=rate >= BAR,
    )
    record("  half of them, and 99 %, answered within", f"{half_ms:.0f} and {most_ms:.0f} ms")
    record("  entries a batch", f"{size / batches:.0f}")
    record("  of which the load itself took, by one process", f"{used_s / timed * 1e6:.0f} µs each")
