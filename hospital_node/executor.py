"""The executor: takes tasks from this hospital's SuperNode and answers them with installed code.

The one rule: what arrives is data. The code bundle of a task is never unpacked; its digest must be
on the site's allow-list, and the answer comes from the ClientApp this process was started with.
Every task that is taken is answered, if only with an error, since SuperNode waits for a reply and
does nothing else until it has one. What orders say is unknown here.
"""

import argparse
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import structlog
from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode, SubStatus
from flwr.common.serde import context_from_proto
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    AcquireTaskResponse,
    PullAppMessagesRequest,
    PullTaskInputRequest,
    SendTaskHeartbeatRequest,
)
from flwr.supercore.constant import TaskType
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_pull_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectPushError,
    pull_and_inflate_object_from_tree,
)
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.protobuf.client import ProtobufClientInterceptor
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.runtime.run_clientapp import push_message, push_task_output

from audit.errors import KeyFileError
from audit.journal import start_journal
from audit.settings import SettingsError, exit_code_of, read_settings
from hospital_node.calls import SeenThrough
from hospital_node.client_app import Answerer, make_client_app
from hospital_node.errors import LedgerError, NodeError
from hospital_node.settings import NodeSettings
from hospital_node.supernode import SuperNodePlace, place_of
from protocol.record import sha256_text

POLL_S = 0.2
AWAY_S = 1.0
"""Between two attempts to reach a SuperNode that is not there."""

HEARTBEAT_S = 10.0
"""SuperNode gives a task up after 60 s of silence."""

ARRIVAL_S = 30.0
"""How long a task may precede its message: SuperNode announces it before it has pulled it."""

GRACE_S = 30.0
"""What an answer may take beyond its message's life before the process gives up on itself."""

STUCK = 75
"""Exit code after an answer that never came: a fresh process is needed (`EX_TEMPFAIL`)."""

_ACQUIRE = "/flwr.proto.Runtime/AcquireTask"
_log = structlog.get_logger("executor")


@dataclass(frozen=True, slots=True)
class Task:
    """One message to be answered."""

    message: Message
    context: Context
    bundle_digest: str
    kind: str

    @property
    def life_s(self) -> float:
        """Seconds, from when it was sent, that somebody waits for the answer."""
        return float(self.message.metadata.ttl)


class Executor:
    """Answers tasks one after the other; SuperNode hands out no two at a time."""

    def __init__(
        self,
        place: SuperNodePlace,
        *,
        app: ClientApp,
        allowed: frozenset[str],
        grace_s: float = GRACE_S,
    ) -> None:
        self._grace_s = grace_s
        self._place = place
        self._app = app
        self._allowed = allowed
        self._stop = threading.Event()
        self._is_stuck = False

    def stop(self) -> None:
        """Answer what is under way with an error, and end."""
        self._stop.set()

    def run(self) -> bool:
        """Answer tasks until told to stop; whether an answer is still being worked on."""
        was_away = False
        while not self._stop.is_set() and not self._is_stuck:
            try:
                taken = self._acquire()
                was_away = False
                if taken is not None:
                    self._serve(taken)
            except (httpx.HTTPError, OSError, ObjectPullError, ObjectPushError) as error:
                if not was_away:
                    _log.info("supernode is away", error=type(error).__name__)
                was_away = True
                self._stop.wait(AWAY_S)
        return self._is_stuck

    def _acquire(self) -> AcquireTaskResponse | None:
        """The next task, of any kind: one that is refused is answered too."""
        address = self._place.address()
        if address is None:
            raise ConnectionError("supernode has not started")
        signed = SuperExecAuthHttpInterceptor(
            master_secret=self._place.secret.read_bytes(), protected_methods=[_ACQUIRE]
        )
        with _client(address, signed) as client:
            while not self._stop.is_set():
                request = AcquireTaskRequest(supported_task_types=list(TaskType))
                response = client.AcquireTask(request)
                if response.HasField("task") and response.token:
                    return response
                self._stop.wait(POLL_S)
        return None

    def _serve(self, taken: AcquireTaskResponse) -> None:
        address = self._place.address()
        if address is None:
            return
        proof = RuntimeTokenHttpInterceptor(taken.token)
        with _client(address, SeenThrough(), proof) as client:
            with _heartbeats(client):
                task = _pull(client, str(taken.task.type))
                reply = self._refuse(task) or self._answer(task)
                is_answered = not reply.has_error()
                push_message(client, reply, task.context)
            _log.info("answered", run=task.context.run_id, refused=not is_answered)
            push_task_output(
                client,
                context=None,
                sub_status=SubStatus.COMPLETED if is_answered else SubStatus.FAILED,
                details="",
            )

    def _refuse(self, task: Task) -> Message | None:
        """The refusal of a task that this site does not run, or none."""
        if task.kind != TaskType.CLIENT_APP:
            return _error(task, ErrorCode.INVALID_FAB, f"{task.kind}: not run here")
        if task.bundle_digest not in self._allowed:
            _log.warning("bundle refused", digest=task.bundle_digest)
            return _error(task, ErrorCode.INVALID_FAB, f"{task.bundle_digest}: not allowed here")
        return None

    def _answer(self, task: Task) -> Message:
        """The app's reply, or an error once nobody waits any longer."""
        replies: queue.SimpleQueue[Message] = queue.SimpleQueue()
        thread = threading.Thread(
            target=lambda: replies.put(_run_app(self._app, task)), name="answer", daemon=True
        )
        thread.start()
        # Counted from now: the centre's clock need not agree with this one.
        until = time.monotonic() + task.life_s + self._grace_s
        while time.monotonic() < until and not self._stop.is_set():
            try:
                return replies.get(timeout=POLL_S)
            except queue.Empty:
                continue
        self._is_stuck = True
        return _error(task, ErrorCode.CLIENT_APP_CRASHED, "the node stopped before it answered")


def _run_app(app: ClientApp, task: Task) -> Message:
    try:
        return app(task.message, task.context)
    except Exception as error:  # noqa: BLE001 - the edge: every task is answered
        # The text of an exception may hold what it was working on: neither logged nor sent.
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        place = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else ""
        _log.error("the answer failed", error=type(error).__name__, place=place)
        return _error(task, ErrorCode.CLIENT_APP_RAISED_EXCEPTION, type(error).__name__)


def _error(task: Task, code: int, reason: str) -> Message:
    return Message(Error(code=code, reason=reason), reply_to=task.message)


def _pull(client: RuntimeHttpClient, kind: str) -> Task:
    """What a task is about; its message may still be on its way."""
    pulled = client.PullTaskInput(PullTaskInputRequest())
    context = context_from_proto(pulled.context)
    node = Node(node_id=context.node_id)
    until = time.monotonic() + ARRIVAL_S
    while not (found := client.PullMessages(PullAppMessagesRequest())).messages_list:
        if time.monotonic() > until:
            raise ConnectionError("supernode announced a task and has no message for it")
        time.sleep(POLL_S)
    tree = found.message_object_trees[0]
    message = pull_and_inflate_object_from_tree(
        tree,
        make_pull_object_fn_protobuf(client.PullObject, node, context.run_id),
        make_confirm_message_received_fn_protobuf(
            client.ConfirmMessageReceived, node, context.run_id
        ),
        return_type=Message,
        initial_backoff=POLL_S,
        backoff_cap=POLL_S,
        max_tries_per_object=None,
    )
    message.metadata.__dict__["_message_id"] = tree.object_id
    return Task(message, context, sha256_text(pulled.fab.content), kind)


@contextmanager
def _client(address: str, *interceptors: ProtobufClientInterceptor) -> Iterator[RuntimeHttpClient]:
    client = RuntimeHttpClient.from_server_address(
        address,
        insecure=True,  # loopback, and every call carries a proof
        root_certificates=None,
        interceptors=[
            *interceptors,
            RuntimeVersionHttpInterceptor(component_name="flwr-clientapp"),
        ],
    )
    with client:
        yield client


@contextmanager
def _heartbeats(client: RuntimeHttpClient) -> Iterator[None]:
    over = threading.Event()

    def beat() -> None:
        while not over.wait(HEARTBEAT_S):
            try:
                client.SendTaskHeartbeat(SendTaskHeartbeatRequest())
            except httpx.HTTPError as error:
                _log.info("heartbeat missed", error=type(error).__name__)

    thread = threading.Thread(target=beat, name="heartbeats", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=HEARTBEAT_S)


def serve(settings: NodeSettings, answer: Answerer) -> int:
    """Answer orders with `answer` until told to stop; the exit code.

    Must be called from the main thread, since it listens to signals.
    """
    executor = Executor(
        place_of(settings),
        app=make_client_app(answer),
        allowed=frozenset(settings.flower.fab_digests),
    )
    has_been_stopped = threading.Event()

    def stop(_signal: int, _frame: object) -> None:
        has_been_stopped.set()
        executor.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    _log.info("ready", allowed=len(settings.flower.fab_digests))
    is_busy = executor.run()
    code = 0 if has_been_stopped.is_set() else STUCK
    if is_busy:
        # A thread that computes cannot be stopped; its transaction ends with its connection.
        sys.stderr.flush()
        os._exit(code)
    return code


def _open_answerer(settings: NodeSettings) -> Answerer:
    """The hospital's participation, with everything heavy loaded once."""
    # Torch and MONAI take seconds to load: not before the settings are known to be right.
    import torch  # noqa: PLC0415

    from hospital_node import participation  # noqa: PLC0415
    from hospital_node.continuity import check_ledger  # noqa: PLC0415
    from hospital_node.site import open_site  # noqa: PLC0415

    torch.set_num_threads(settings.compute.threads)
    site = open_site(settings)
    try:
        check_ledger(site)
    except LedgerError as fault:
        # Every order is refused from here on, in words; that is more than silence would tell.
        _log.error("ledger does not hold", fault=str(fault))
    return lambda order, packed: participation.answer(site, order, packed)


def main(
    arguments: list[str] | None = None,
    open_answerer: Callable[[NodeSettings], Answerer] = _open_answerer,
) -> int:
    """Load the hospital's code once, then answer orders until told to stop."""
    parser = argparse.ArgumentParser(prog="hospital_node.executor", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the hospital's node.toml")
    config: Path = parser.parse_args(arguments).config
    start_journal()
    try:
        settings = read_settings(config, NodeSettings)
        answer = open_answerer(settings)
    except (SettingsError, KeyFileError, NodeError) as error:
        print(f"executor: {error}", file=sys.stderr)
        return exit_code_of(error)
    return serve(settings, answer)


if __name__ == "__main__":
    sys.exit(main())
