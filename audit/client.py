"""The log's client: asks the audit service and believes nothing it cannot check.

The one rule: every checkpoint must be signed by the log and consistent with the largest one seen
before, and every entry must be proven under it. A log that shows two histories raises
`LogForkedError` here. Lost connections are tried again; all requests are idempotent.
"""

import ssl
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from audit.canonical import MAX_INTEGER
from audit.checkpoint import Checkpoint, WitnessPolicy, open_checkpoint
from audit.entry import Entry
from audit.errors import AuditError, NoteError, ProofError
from audit.merkle import leaf_hash, verify_consistency, verify_inclusion
from audit.note import Verifier
from audit.payloads.deposit import Deposit
from audit.problems import from_problem
from audit.proof import check_proof, parse_proof
from audit.receipt import open_receipt
from audit.refusal import LogForkedError, LogUnavailableError
from audit.settings import SettingsError, Tls
from audit.tiles import TILE_WIDTH, bundle_path, decode_bundle, encode_bundle
from audit.witnesses.witnessing import Offer

_ATTEMPTS = 5
_FIRST_PAUSE_S = 0.1
"""Doubled after each attempt: a restarting service is found again within two seconds."""

_ANSWER_S = 15.0
"""How long an answer may take beyond the wait that was asked for."""

_PAGE = 200
"""Entries asked for at once."""

_LONGEST_WAIT_S = 50.0
"""Of one request; longer waits are several requests."""


_LATEST_US = 86_400_000_000
"""A receipt that promises more than a day ahead promises nothing one could hold a log to."""


@dataclass(frozen=True, slots=True)
class Logged:
    """An entry the log holds, verified to be in it."""

    index: int
    entry: bytes
    proof_text: str = ""
    """The tlog-proof under a witnessed checkpoint; empty where none was asked for."""


class LogClient:
    """One party's connection to the log; safe to share between threads."""

    def __init__(  # noqa: PLR0917 - address, credentials, whom to believe, and no more
        self,
        url: str,
        tls: Tls,
        log_verifier: Verifier,
        witness_policy: WitnessPolicy,
        *,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._log = log_verifier
        self._policy = witness_policy
        self._pause = pause
        self._lock = threading.Lock()
        self._seen: tuple[Checkpoint, str] | None = None
        self._http = httpx.Client(
            base_url=url,
            verify=_context(tls),
            timeout=_ANSWER_S,
            limits=httpx.Limits(max_connections=32),
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def submit(self, entries: Sequence[bytes]) -> list[int]:
        """The index of each entry once it is durable; all are taken or none.

        Raises:
            EntryRefusedError: an entry cannot be taken as it is.
            LogUnavailableError: not now; submitting again is safe.
        """
        answer = self._post(entries, wait="integrated")
        with _reading():
            indices = [_index(value) for value in answer.json()["indices"]]
        if len(indices) != len(entries):
            raise LogUnavailableError(
                f"the audit service gave {len(indices)} indices for {len(entries)} entries; "
                "submitting again is safe"
            )
        return indices

    def deposit(self, deposit: Deposit) -> str:
        """Hand in a payload; the retention class for whose period it is kept at least.

        Raises:
            UnknownRecordError: the log does not have its entry yet.
            AuditError: it is not taken, for the reason that is said; handing it in again is safe.
        """
        answer = self._ask("POST", "/v1/payloads", json=deposit.to_json())
        with _reading():
            return str(answer.json()["retention"])

    def promise(self, entries: Sequence[bytes]) -> str:
        """The log's signed receipt for one member's entries, which are on their way then.

        Raises:
            EntryRefusedError: an entry cannot be taken as it is.
            LogUnavailableError: not now; asking again is safe.
            NoteError: what the log gave is no receipt for them, or promises too late a day.
        """
        note = self._post(entries).text
        receipt = open_receipt(note, self._log)
        receipt.check_covers([Entry.parse(entry) for entry in entries])
        if receipt.deadline_us - receipt.received_us > _LATEST_US:
            raise NoteError(
                f"the log's receipt promises more than {_LATEST_US // 1_000_000} s ahead; ask its "
                "operator for a shorter merge_delay_s"
            )
        return note

    def _post(self, entries: Sequence[bytes], **params: str) -> httpx.Response:
        return self._ask(
            "POST",
            "/v1/events:batch",
            params=params,
            content=encode_bundle(entries),
            headers={"Content-Type": "application/octet-stream"},
        )

    def checkpoint(self) -> str:
        """The log's last signed checkpoint, consistent with all that were seen before."""
        note = self._ask("GET", "/checkpoint").text
        self._learn(note)
        return note

    def witnessed(self) -> str:
        """The last checkpoint that has the quorum of cosignatures, verified.

        Raises:
            NotYetWitnessedError: there is none yet.
        """
        note = self._ask("GET", "/v1/checkpoint/witnessed").text
        self._policy.check(note)
        self._learn(note)
        return note

    def wait_witnessed(self, entry: bytes, timeout_s: float) -> Logged:
        """The entry's index and its proof under a witnessed checkpoint, once there is one.

        The entry may still be on its way, in an outbox.

        Raises:
            NotYetWitnessedError: not within `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        path = f"/v1/events/{Entry.parse(entry).event_id}/proof"
        while True:
            left = max(0.0, deadline - time.monotonic())
            wait_s = min(left, _LONGEST_WAIT_S)
            try:
                text = self._ask(
                    "GET", path, wait_s=wait_s, params={"witnessed_wait_s": wait_s}
                ).text
            except LogUnavailableError:
                if time.monotonic() >= deadline:
                    raise
                self._pause(_FIRST_PAUSE_S)
                continue
            check_proof(
                text,
                leaf_hash(entry),
                log_verifier=self._log,
                witness_policy=self._policy,
            )
            proof = parse_proof(text)
            self._learn(proof.checkpoint_note)
            return Logged(proof.index, entry, text)

    def events(  # noqa: PLR0913 - each is one thing to look for
        self,
        *,
        type: str | None = None,  # noqa: A002 - the event's own word
        plan_id: str | None = None,
        run_id: str | None = None,
        producer: str | None = None,
        after: int = -1,
        wait_s: float = 0.0,
    ) -> list[Logged]:
        """The entries beyond index `after`, in order, each proven to be in the log.

        With none to show, waits up to `wait_s` for one. That nothing was left out can be told only
        from the whole log.
        """
        wanted = {"type": type, "plan_id": plan_id, "run_id": run_id, "producer": producer}
        params = {key: value for key, value in wanted.items() if value is not None}
        logged: list[Logged] = []
        while True:
            page = self._page(params, after=after, wait_s=0.0 if logged else wait_s)
            logged.extend(page)
            if len(page) < _PAGE:
                return logged
            after = page[-1].index

    def _page(self, params: dict[str, str], *, after: int, wait_s: float) -> list[Logged]:
        wait_s = min(wait_s, _LONGEST_WAIT_S)
        params = {**params, "after": str(after), "limit": str(_PAGE), "wait_s": str(wait_s)}
        answer = self._ask("GET", "/v1/events", wait_s=wait_s, params=params)
        with _reading():
            page = answer.json()
            note = str(page["checkpoint"])
            found = [_Found.from_json(one) for one in page["entries"]]
        checkpoint = self._learn(note)
        return [one.proven(checkpoint) for one in found]

    def entry(self, index: int) -> bytes:
        """The bytes of one entry, proven to be in the log.

        Raises:
            UnknownEntryError: the log is shorter.
        """
        content = self._ask("GET", f"/v1/events/{index}").content
        proof = parse_proof(self._ask("GET", f"/v1/events/{index}/proof").text)
        checkpoint = self._learn(proof.checkpoint_note)
        verify_inclusion(
            index,
            checkpoint.size,
            leaf=leaf_hash(content),
            proof=proof.hashes,
            root=checkpoint.root,
        )
        return content

    def entries(self, start: int, end: int) -> list[bytes]:
        """The bytes of the entries in `[start, end)`, as served; whoever takes all checks the root.

        Raises:
            UnknownEntryError: the log is shorter.
        """
        found: list[bytes] = []
        while start < end:
            index, first = divmod(start, TILE_WIDTH)
            width = min(TILE_WIDTH, end - index * TILE_WIDTH)
            bundle = decode_bundle(self._ask("GET", f"/{bundle_path(index, width)}").content)
            if len(bundle) != width:
                raise ProofError(f"a bundle of {len(bundle)} entries; expected {width}")
            found.extend(bundle[first:])
            start = index * TILE_WIDTH + width
        return found

    def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        """The log's proof that its tree of `new` entries extends that of `old`, not verified."""
        answer = self._ask(
            "GET", "/v1/proofs/consistency", params={"old": str(old), "new": str(new)}
        )
        with _reading():
            return _hashes(answer.json()["proof"])

    def pending(self, witness: str, seen_note: str, *, wait_s: float) -> Offer | None:
        """What the log puts before a witness that saw `seen_note` last, not verified.

        Raises:
            LogHaltedError: the log cannot account for what the witness saw.
        """
        wait_s = min(wait_s, _LONGEST_WAIT_S)
        answer = self._ask(
            "POST",
            "/v1/checkpoint/pending",
            wait_s=wait_s,
            params={"witness": witness, "wait_s": str(wait_s)},
            content=seen_note.encode(),
        )
        if answer.status_code == httpx.codes.NO_CONTENT:
            return None
        with _reading():
            offer = answer.json()
            return Offer(str(offer["note"]), _hashes(offer["proof"]))

    def post_cosignature(self, note: str) -> None:
        """Leave a cosignature: the checkpoint's text with the cosignature line."""
        self._ask("POST", "/v1/cosignatures", content=note.encode())

    def report_equivocation(self, content: bytes) -> None:
        """Report two checkpoints of the log that contradict each other, where all members see it.

        Raises:
            EvidenceError: the log can account for both.
        """
        self._ask("POST", "/v1/equivocations", content=content)

    def health(self) -> dict[str, Any]:
        """What the service says of itself; nothing in it is verified."""
        answer = self._ask("GET", "/v1/health/log")
        with _reading():
            return dict(answer.json())

    def _learn(self, note: str) -> Checkpoint:
        """The note's checkpoint, once it agrees with the largest one seen."""
        checkpoint = open_checkpoint(note, self._log)
        with self._lock:
            seen = self._seen
        if seen is not None:
            self._check_agrees((checkpoint, note), seen)
        with self._lock:
            if self._seen is None or checkpoint.size > self._seen[0].size:
                self._seen = (checkpoint, note)
        return checkpoint

    def _check_agrees(self, one: tuple[Checkpoint, str], other: tuple[Checkpoint, str]) -> None:
        old, new = sorted((one[0], other[0]), key=lambda checkpoint: checkpoint.size)
        if old.size == 0 or old == new:
            return
        try:
            proof = () if old.size == new.size else self.consistency(old.size, new.size)
            verify_consistency(
                old.size, new.size, proof=proof, old_root=old.root, new_root=new.root
            )
        except LogUnavailableError:
            raise
        except AuditError as cause:
            raise LogForkedError(seen=other[1], offered=one[1], explanation=str(cause)) from cause

    def _ask(self, method: str, path: str, *, wait_s: float = 0.0, **parts: Any) -> httpx.Response:
        """The service's answer; connection faults are tried again."""
        pause_s = _FIRST_PAUSE_S
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                answer = self._http.request(method, path, timeout=_ANSWER_S + wait_s, **parts)
            except httpx.RequestError as cause:
                if attempt == _ATTEMPTS:
                    raise LogUnavailableError(
                        f"the audit service at {self._http.base_url} cannot be reached: {cause}"
                    ) from cause
                self._pause(pause_s)
                pause_s *= 2
            else:
                break
        if answer.is_success:
            return answer
        raise _error_of(answer)


def _context(tls: Tls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as cause:
        raise SettingsError(
            f"tls: cannot load ca = {tls.ca}, certificate = {tls.certificate}, key = {tls.key}: "
            f"{cause}"
        ) from cause
    return context


def _error_of(answer: httpx.Response) -> AuditError:
    try:
        problem = answer.json()
    except (ValueError, RecursionError):
        problem = {}
    with _reading():
        return from_problem(answer.status_code, problem if isinstance(problem, dict) else {})


@contextmanager
def _reading() -> Iterator[None]:
    """Read an answer of agreed form; of any other form it is no answer, and is asked for again."""
    try:
        yield
    except (ValueError, TypeError, LookupError, RecursionError) as cause:
        raise LogUnavailableError(
            f"the audit service sent an answer of another form than agreed ({type(cause).__name__})"
            "; ask its operator which release it runs"
        ) from cause


def _hashes(texts: Sequence[str]) -> tuple[bytes, ...]:
    try:
        return tuple(b64decode(text, validate=True) for text in texts)
    except ValueError as cause:
        raise NoteError("the log sent hashes that are not base64") from cause


def _index(value: object) -> int:
    if type(value) is not int or not 0 <= value <= MAX_INTEGER:
        raise ValueError("no index of an entry")
    return value


@dataclass(frozen=True, slots=True)
class _Found:
    """An entry as a page of the log shows it, not verified."""

    index: int
    content: bytes
    proof: tuple[bytes, ...]

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        content = b64decode(found["entry"], validate=True)
        return cls(_index(found["index"]), content, _hashes(found["proof"]))

    def proven(self, checkpoint: Checkpoint) -> Logged:
        verify_inclusion(
            self.index,
            checkpoint.size,
            leaf=leaf_hash(self.content),
            proof=self.proof,
            root=checkpoint.root,
        )
        return Logged(self.index, self.content)
