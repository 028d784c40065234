"""The grid over Flower: SuperLink carries the messages, this process is the server app.

The one rule: each site gets one message and gives one result, told apart by the message it answers;
whatever a site does wrong becomes its own `Lost`. Headers and arrays pass through unread.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from flwr.app import ArrayRecord, Message
from flwr.app.message import make_message, remove_content_from_message
from flwr.app.metadata import Metadata
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import (
    GetNodesRequest,
    PullAppMessagesRequest,
    PushAppMessagesRequest,
)
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectPushError,
    inflate_object_from_contents,
    pull_objects,
    push_objects,
)

from protocol.update import Packed
from protocol.words import Reason
from services.coordinator.bundle import build_bundle
from services.coordinator.flower_run import FlowerRun, call, control_client, open_run
from services.coordinator.grid import (
    Incoming,
    Lost,
    Outgoing,
    check_each_once,
)
from services.coordinator.nodes import read_node_keys, register_nodes
from services.coordinator.wire import WireError, array_record, decode, encode
from services.settings import CentreSettings
from services.superlink import place_of

POLL_S = 0.2
MESSAGE_TYPE = "query"

_CHUNK_BYTES = 5 * 2**20
"""Size of the pieces in which Flower sends an array."""

_TAKEN_WITHIN_S = 20.0
"""How long a message is offered: a SuperLink that comes back knows its nodes by their next beat."""

_SPARE_OBJECTS = 16
"""A message without its array's pieces is six objects; a reply with many more is no reply."""

_LINK = Node(node_id=SUPERLINK_NODE_ID)

_REASONS: Mapping[int, tuple[Reason, str]] = {
    ErrorCode.NODE_UNAVAILABLE: (Reason.UNREACHABLE, "the node is not connected"),
    ErrorCode.MESSAGE_UNAVAILABLE: (Reason.LATE, "the order expired before it was answered"),
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE: (Reason.LATE, "the answer expired before it was read"),
    ErrorCode.INVALID_FAB: (Reason.BAD_ORDER, "the site does not allow this code bundle"),
    ErrorCode.CLIENT_APP_CRASHED: (Reason.INTERNAL_ERROR, "the node's executor stopped"),
}
"""What Flower's error codes mean for a round; any other is the site's internal error."""


class FlowerGrid:
    """A way to the sites through one run of SuperLink."""

    def __init__(self, run: FlowerRun, nodes: Callable[[], Mapping[str, int]]) -> None:
        self._run = run
        self._nodes = nodes

    def sites(self) -> frozenset[str]:
        """The enrolled sites whose node is connected now.

        Raises:
            GridError: SuperLink does not answer.
        """
        self._run.check()
        online = call(self._run.client.GetNodes, GetNodesRequest()).nodes
        connected = {int(node.node_id) for node in online}
        return frozenset(site for site, node in self._nodes().items() if node in connected)

    def exchange(
        self, outgoing: Sequence[Outgoing], *, timeout_s: float
    ) -> Iterator[Incoming | Lost]:
        """One result for each of `outgoing`, as they become known; see `Grid.exchange`.

        Raises:
            ValueError: two of `outgoing` name the same site.
            GridError: SuperLink does not answer.
        """
        check_each_once(outgoing)
        return self._exchange(outgoing, time.monotonic() + timeout_s, timeout_s)

    def _exchange(
        self, outgoing: Sequence[Outgoing], deadline: float, timeout_s: float
    ) -> Iterator[Incoming | Lost]:
        nodes = self._nodes()
        unsent: list[tuple[Outgoing, Message]] = []
        records: dict[int, ArrayRecord] = {}
        for one in outgoing:
            if one.site not in nodes:
                yield Lost(one.site, Reason.UNREACHABLE, "no node key is enrolled for this site")
                continue
            if id(one.packed) not in records:
                records[id(one.packed)] = array_record(one.packed)
            record = records[id(one.packed)]
            message = self._message(nodes[one.site], one.header, record, ttl_s=timeout_s)
            unsent.append((one, message))
        records.clear()
        waiting: dict[str, Outgoing] = {}
        given_up = min(deadline, time.monotonic() + _TAKEN_WITHIN_S)
        while (unsent or waiting) and time.monotonic() < deadline:
            unsent = self._push_each(unsent, waiting)
            if unsent and time.monotonic() > given_up:
                for one, _ in unsent:
                    yield Lost(one.site, Reason.UNREACHABLE, "SuperLink did not take the message")
                unsent = []
            yield from self._collect(waiting, deadline)
        for one in (*waiting.values(), *(one for one, _ in unsent)):
            yield Lost(one.site, Reason.LATE, f"no answer within {timeout_s:g} s")

    def _push_each(
        self, unsent: Sequence[tuple[Outgoing, Message]], waiting: dict[str, Outgoing]
    ) -> list[tuple[Outgoing, Message]]:
        """Hand over what SuperLink takes, which is then waited for; what it does not take."""
        left = []
        for one, message in unsent:
            if (message_id := self._push(message)) is None:
                left.append((one, message))
            else:
                waiting[message_id] = one
        return left

    def _collect(self, waiting: dict[str, Outgoing], deadline: float) -> Iterator[Incoming | Lost]:
        """What there is of the results that are waited for; a moment later where there is none."""
        self._run.check()
        found = False
        if waiting:
            request = PullAppMessagesRequest(message_ids=list(waiting))
            pulled = call(self._run.client.PullMessages, request)
            for proto, tree in zip(pulled.messages_list, pulled.message_object_trees, strict=True):
                one = waiting.pop(proto.metadata.reply_to_message_id, None)
                if one is not None:
                    yield self._read(one, proto, tree, deadline=deadline)
            found = bool(pulled.messages_list)
        if not found:
            time.sleep(POLL_S)

    def _message(
        self, node_id: int, header: bytes, record: ArrayRecord, *, ttl_s: float
    ) -> Message:
        # Not `Message(...)`: it takes run and task from a global of the process.
        metadata = Metadata(
            run_id=self._run.run_id,
            message_id="",
            src_node_id=SUPERLINK_NODE_ID,
            dst_node_id=node_id,
            reply_to_message_id="",
            group_id="",
            created_at=time.time(),
            ttl=ttl_s,
            message_type=MESSAGE_TYPE,
            src_task_id=self._run.task_id,
        )
        message = make_message(metadata, encode(header, record))
        metadata.__dict__["_message_id"] = message.object_id
        return message

    def _push(self, message: Message) -> str | None:
        """Hand the message to SuperLink; its id, or none when it is not taken."""
        client = self._run.client
        with no_object_id_recompute():
            request = PushAppMessagesRequest(
                messages_list=[message_to_proto(remove_content_from_message(message))],
                message_object_trees=[get_object_tree(message)],
            )
            pushed = call(client.PushMessages, request)
            if not any(pushed.message_ids):
                return None
            put = make_push_object_fn_protobuf(
                partial(call, client.PushObject), _LINK, self._run.run_id, pushed.session_id
            )
            try:
                push_objects(
                    get_all_nested_objects(message),
                    put,
                    object_ids_to_push=set(pushed.objects_to_push),
                )
            except ObjectPushError:
                return None
        return str(pushed.message_ids[0])

    def _read(
        self, one: Outgoing, proto: ProtoMessage, tree: ObjectTree, *, deadline: float
    ) -> Incoming | Lost:
        """What one reply says. It comes from outside: nothing about it is taken for granted."""
        if proto.HasField("error"):
            default = (Reason.INTERNAL_ERROR, f"the node's error code is {proto.error.code}")
            return Lost(one.site, *_REASONS.get(proto.error.code, default))
        object_ids = [part.object_id for part in iterate_object_tree(tree)]
        if len(object_ids) > _SPARE_OBJECTS + math.ceil(one.packed.nbytes / _CHUNK_BYTES):
            return Lost(one.site, Reason.BAD_UPDATE, f"a reply of {len(object_ids)} objects")
        try:
            header, packed = self._pull(proto.metadata.message_id, object_ids, deadline=deadline)
        except ObjectPullError:
            return Lost(one.site, Reason.LATE, "the answer did not arrive whole")
        except (WireError, ValueError, KeyError, TypeError) as error:
            return Lost(one.site, Reason.BAD_UPDATE, f"unreadable reply: {type(error).__name__}")
        return Incoming(one.site, header, packed)

    def _pull(
        self, message_id: str, object_ids: list[str], *, deadline: float
    ) -> tuple[bytes, Packed | None]:
        client, run_id = self._run.client, self._run.run_id
        contents = pull_objects(
            object_ids,
            make_pull_object_fn_protobuf(partial(call, client.PullObject), _LINK, run_id),
            max_time=max(1.0, deadline - time.monotonic()),
            initial_backoff=POLL_S,
            backoff_cap=POLL_S,
            max_tries_per_object=None,
        )
        confirm = ConfirmMessageReceivedRequest(
            node=_LINK, run_id=run_id, message_object_id=message_id
        )
        call(client.ConfirmMessageReceived, confirm)
        message = inflate_object_from_contents(message_id, contents)
        if not isinstance(message, Message):
            raise WireError("expected a message")
        return decode(message.content)


class _Nodes:
    """Node ids by site, registered anew whenever a key file has come or gone."""

    def __init__(self, control: ControlHttpClient, folder: Path) -> None:
        self._control = control
        self._folder = folder
        self._keys: dict[str, bytes] = {}
        self._ids: dict[str, int] = {}

    def __call__(self) -> Mapping[str, int]:
        keys = read_node_keys(self._folder)
        if keys != self._keys:
            self._ids = call(partial(register_nodes, self._control), keys)
            self._keys = keys
        return self._ids


@contextmanager
def open_grid(settings: CentreSettings) -> Iterator[FlowerGrid]:
    """Start a Flower run and serve as its server app while the block runs.

    Public keys in the folder `nodes` of the centre's state (see `services.coordinator.nodes`) are
    registered first. The run ends as completed, or as failed when the block raises.

    Raises:
        GridError: SuperLink does not answer, or refuses.
        ConfigurationError: a node key cannot be read.
    """
    place = place_of(settings)
    with control_client(place) as control:
        nodes = _Nodes(control, settings.centre.state / "nodes")
        nodes()
        with open_run(place, control, build_bundle()) as run:
            yield FlowerGrid(run, nodes)
