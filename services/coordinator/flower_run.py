"""One run of SuperLink, and this process as its server app.

The one rule: from the moment a run is started here, it ends here, as completed or as failed; what a
dead predecessor left running is stopped first. Calls that fail because SuperLink is restarting are
made again for a while. Messages and sites are unknown to this module.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
from flwr.common.constant import Status, SubStatus
from flwr.proto.control_pb2 import ListRunsRequest, StartRunRequest, StopRunRequest
from flwr.proto.fab_pb2 import Fab
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    PullTaskInputRequest,
    PushTaskOutputRequest,
    SendTaskHeartbeatRequest,
)
from flwr.supercore.constant import TaskType
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.runtime import RuntimeHttpClient

from protocol.record import sha256_text
from services.coordinator.grid import GridError
from services.superlink import SuperLinkPlace

HEARTBEAT_S = 10.0
"""SuperLink fails a run whose server app is silent for 60 s."""

RETRY_FOR_S = 45.0
"""Long enough for SuperLink to be restarted, shorter than its patience with us."""

_POLL_S = 0.1
_ACQUIRE = "/flwr.proto.Runtime/AcquireTask"

Response = TypeVar("Response")


def call(function: Callable[[Any], Response], request: object) -> Response:
    """The response to a request, asked again while SuperLink is away.

    Raises:
        GridError: it stays away, or refuses.
    """
    until = time.monotonic() + RETRY_FOR_S
    while True:
        try:
            return function(request)
        except httpx.TransportError as error:
            if time.monotonic() > until:
                raise GridError(f"SuperLink does not answer: {type(error).__name__}") from error
        except httpx.HTTPStatusError as error:
            if error.response.status_code < 502 or time.monotonic() > until:
                raise GridError(_said(error)) from error
        time.sleep(_POLL_S * 5)


def _said(error: httpx.HTTPStatusError) -> str:
    return (
        f"SuperLink refuses {error.request.url.path}: "
        f"{error.response.status_code} {error.response.text[:200]}"
    )


@contextmanager
def control_client(place: SuperLinkPlace) -> Iterator[ControlHttpClient]:
    """A client of SuperLink's Control API.

    Raises:
        GridError: SuperLink was never started here.
    """
    client = ControlHttpClient.from_server_address(
        place.address,
        insecure=False,
        root_certificates=_certificate(place),
        interceptors=[RuntimeVersionHttpInterceptor(component_name="wardround")],
    )
    with client:
        yield client


@dataclass(frozen=True, slots=True)
class FlowerRun:
    """A run under way, with this process as its server app."""

    run_id: int
    task_id: int
    client: RuntimeHttpClient
    ended: threading.Event
    """Set when SuperLink has ended the run without being asked to."""

    def check(self) -> None:
        """Pass while the run goes on.

        Raises:
            GridError: SuperLink has ended it.
        """
        if self.ended.is_set():
            raise GridError(f"SuperLink has ended run {self.run_id}; open a new one")


@contextmanager
def open_run(
    place: SuperLinkPlace, control: ControlHttpClient, bundle: bytes
) -> Iterator[FlowerRun]:
    """Start a run and serve as its server app until the block ends.

    The run is marked completed when the block ends well, and failed when it raises.

    Raises:
        GridError: SuperLink does not answer, or will not start the run.
    """
    _stop_leftovers(control)
    fab = Fab(hash_str=sha256_text(bundle).removeprefix("sha256:"), content=bundle)
    started = call(control.StartRun, StartRunRequest(fab=fab))
    if not started.HasField("run_id"):
        raise GridError("SuperLink did not start a run; its log says why")
    run_id = int(started.run_id)
    task_id, token = _acquire(place, run_id)
    with _runtime_client(place, RuntimeTokenHttpInterceptor(token=token)) as client:
        call(client.PullTaskInput, PullTaskInputRequest())
        run = FlowerRun(run_id, task_id, client, threading.Event())
        with _heartbeats(run):
            yield from _until_finished(run)


def _until_finished(run: FlowerRun) -> Iterator[FlowerRun]:
    try:
        yield run
    except BaseException as error:
        _finish(run, SubStatus.FAILED, type(error).__name__)
        raise
    _finish(run, SubStatus.COMPLETED, "")


def _finish(run: FlowerRun, sub_status: str, details: str) -> None:
    """Tell SuperLink, once: a run it does not hear about is failed after 60 s all the same."""
    try:
        run.client.PushTaskOutput(PushTaskOutputRequest(sub_status=sub_status, details=details))
    except httpx.HTTPError:
        run.ended.set()


def _stop_leftovers(control: ControlHttpClient) -> None:
    """Stop runs of a coordinator that died; this SuperLink serves one at a time."""
    runs = call(control.ListRuns, ListRunsRequest()).run_dict
    for run_id, run in runs.items():
        if run.status.status != Status.FINISHED:
            call(control.StopRun, StopRunRequest(run_id=run_id))


def _acquire(place: SuperLinkPlace, run_id: int) -> tuple[int, str]:
    """The id and the token of the run's server-app task."""
    secret = place.secret.read_bytes()
    signed = SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods=[_ACQUIRE])
    request = AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP])
    until = time.monotonic() + RETRY_FOR_S
    with _runtime_client(place, signed) as client:
        while time.monotonic() < until:
            response = call(client.AcquireTask, request)
            if response.HasField("task") and response.task.run_id == run_id:
                return int(response.task.task_id), str(response.token)
            time.sleep(_POLL_S)
    raise GridError(f"SuperLink did not hand out the task of run {run_id}")


@contextmanager
def _runtime_client(
    place: SuperLinkPlace, proof: RuntimeTokenHttpInterceptor | SuperExecAuthHttpInterceptor
) -> Iterator[RuntimeHttpClient]:
    client = RuntimeHttpClient.from_server_address(
        place.address,
        insecure=False,
        root_certificates=_certificate(place),
        interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr-serverapp"), proof],
    )
    with client:
        yield client


def _certificate(place: SuperLinkPlace) -> bytes:
    try:
        return place.certificate.read_bytes()
    except OSError as cause:
        raise GridError(f"{place.certificate}: missing; start SuperLink first") from cause


@contextmanager
def _heartbeats(run: FlowerRun) -> Iterator[None]:
    over = threading.Event()
    thread = threading.Thread(target=_beat, args=(run, over), name="heartbeats", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=HEARTBEAT_S)


def _beat(run: FlowerRun, over: threading.Event) -> None:
    while not over.wait(HEARTBEAT_S):
        try:
            response = run.client.SendTaskHeartbeat(SendTaskHeartbeatRequest())
        except httpx.HTTPStatusError as error:
            if error.response.status_code < 500:
                run.ended.set()
        except httpx.TransportError:
            continue
        else:
            if not response.success:
                run.ended.set()
