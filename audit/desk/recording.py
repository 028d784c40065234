"""Recording: nothing leaves the desk before the call that it answers is on the record.

Stands around the whole application, so that no route can forget it: first who calls is settled, or
nothing else happens; then the answer's first line is held back until the call's entry is committed.
The one rule: no entry, no answer. What routes do is not known here. Asynchronous, as ASGI is; what
may wait goes to a thread.
"""

import hashlib
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from http import HTTPMethod
from typing import Any
from urllib.parse import parse_qsl

import anyio.to_thread
import psycopg
import structlog
from psycopg_pool import PoolTimeout

from audit.desk.callers import Caller, NotAdmittedError, Refused
from audit.desk.desk import Desk
from audit.desk.problems import BadQuestionError, answer_to
from audit.desk.seals import Seal, spell_parameters
from audit.desk.statements import Call, access_refused, call_made
from audit.desk.turned_away import TurnedAway
from audit.errors import AuditError
from audit.refusal import LogUnavailableError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

MAX_BODY_BYTES = 2**20
"""No question is longer."""

RECORDED_AS = b"wardround-recorded-as"
"""Header with the event id of the entry that records a call."""

SALT = b"wardround-salt"
"""Header with the salt, in hex, that opens what that entry says of the parameters."""

_METHODS = frozenset(HTTPMethod)
_POLICY_VIOLATION = 1008
"""RFC 6455 §7.4.1."""

_log = structlog.get_logger("audit.desk")


@dataclass(slots=True)
class _Conversation:
    """One call while it is being answered."""

    scope: Message
    seal: Seal
    caller: Caller | None = None
    refused: Refused | None = None
    body: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    size_bytes: int = 0
    has_answered: bool = False

    @property
    def source(self) -> str:
        """Where it comes from; kept in memory alone."""
        client = self.scope.get("client")
        return str(client[0]) if client else ""

    def call(self, status: int) -> Call:
        route = getattr(self.scope.get("route"), "path", "(none)")
        path = {name: str(value) for name, value in self.scope.get("path_params", {}).items()}
        query = parse_qsl(
            self.scope["query_string"].decode("latin-1"), keep_blank_values=True, errors="replace"
        )
        content = self.body.digest() if self.size_bytes else b""
        return Call(
            f"{_method(self.scope['method'])} {route}",
            self.seal.close(spell_parameters(path, query, content)),
            self.seal.nonce,
            status,
            exported=self.scope["state"].get("exported", {}),
        )


class Recording:
    """The application, with every call on the record."""

    def __init__(self, app: Application, desk: Desk, *, open_paths: tuple[str, ...]) -> None:
        self._app = app
        self._desk = desk
        self._open_paths = open_paths
        self._turned_away = TurnedAway(desk.clock_us)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one call (ASGI 3)."""
        if scope["type"] == "websocket":  # no route has any; whatever had one went unrecorded
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
            return
        if scope["type"] == "lifespan" or self._is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})
        seal = Seal.draw(self._desk.seal_key, self._desk.random)
        conversation = _Conversation(scope, seal)
        recorded_send = self._recorded(conversation, send)
        try:
            caller = await anyio.to_thread.run_sync(self._recognise, conversation)
            scope["state"]["caller"] = conversation.caller = caller
            await self._app(scope, _measured(conversation, receive), recorded_send)
        except Exception as error:  # the outermost edge: whatever it is, it is answered
            if conversation.has_answered:
                raise
            if not isinstance(error, AuditError | BadQuestionError):
                _log.exception("a call met a fault of the desk's own")
            if isinstance(error, NotAdmittedError):
                conversation.refused = error.refused
            await answer_to(error)(scope, receive, recorded_send)

    def _is_open(self, path: str) -> bool:
        """Whether a path needs no credentials: it is named whole, or lies in a folder that is."""
        return any(
            path.startswith(open_path) if open_path.endswith("/") else path == open_path
            for open_path in self._open_paths
        )

    def _recognise(self, conversation: _Conversation) -> Caller:
        by_session: Callable[[], Caller] | None = conversation.scope["state"].get("recognise")
        if by_session is not None:  # the pages' door set it; nothing that is sent can
            return by_session()
        headers = dict(conversation.scope["headers"])
        shown = headers.get(b"authorization", b"").decode("latin-1")
        return self._desk.doors.recognise(shown, source=conversation.source)

    def _recorded(self, conversation: _Conversation, send: Send) -> Send:
        is_withheld = False

        async def recorded(message: Message) -> None:
            nonlocal is_withheld
            if is_withheld:
                return
            if message["type"] == "http.response.start":
                try:
                    headers = await anyio.to_thread.run_sync(
                        self._record, conversation, int(message["status"])
                    )
                except (psycopg.Error, PoolTimeout, AuditError) as fault:
                    _log.error("a call could not be recorded", fault=type(fault).__name__)
                    is_withheld = conversation.has_answered = True
                    away = LogUnavailableError(
                        "the call cannot be recorded now, so it is not answered"
                    )
                    await answer_to(away)(conversation.scope, _nothing, send)
                    return
                conversation.has_answered = True
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        return recorded

    def _record(self, conversation: _Conversation, status: int) -> list[tuple[bytes, bytes]]:
        """Commit the entry about a call, where one is due; the headers that tell of it."""
        call, caller = conversation.call(status), conversation.caller
        if caller is not None and status != 403:
            event_id = self._desk.recorder.note(call_made(call, caller)).event_id
            salt = conversation.seal.salt.hex()
            return [(RECORDED_AS, event_id.encode()), (SALT, salt.encode())]
        refused = conversation.refused or Refused.WRONG_ROLE
        count = self._turned_away.count(caller.id if caller else conversation.source)
        if not count:
            return []
        statement = access_refused(call, refused, caller=caller, count=count)
        return [(RECORDED_AS, self._desk.recorder.note(statement).event_id.encode())]


def _method(given: str) -> str:
    """The method, where HTTP has one of this name: a caller's own words are not recorded."""
    return given if given in _METHODS else "(other)"


def _measured(conversation: _Conversation, receive: Receive) -> Receive:
    """`receive`, with the body's digest taken and its length held to."""

    async def measured() -> Message:
        message = await receive()
        content = message.get("body", b"")
        conversation.body.update(content)
        conversation.size_bytes += len(content)
        if conversation.size_bytes > MAX_BODY_BYTES:
            raise BadQuestionError(f"a body of more than {MAX_BODY_BYTES} bytes")
        return message

    return measured


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
