"""The executor, at the Runtime API of a real SuperNode that was handed one message."""

import hashlib
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from flwr.app import Context, Message, RecordDict
from flwr.app.message import make_message
from flwr.app.metadata import Metadata
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.constant import TaskType
from flwr.supercore.fab import Fab
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.run import Run
from flwr.supernode.main import create_app
from flwr.supernode.nodestate import NodeStateFactory

from hospital_node.client_app import Answerer, decode, encode, make_client_app
from hospital_node.executor import Executor
from hospital_node.supernode import SuperNodePlace, prepare
from protocol.record import sha256_text
from protocol.update import Packed

RUN, SERIES, NODE = 11, 12, 13
BUNDLE = b"a bundle that is no archive: whoever unpacks it fails"
ALLOWED = frozenset({sha256_text(BUNDLE)})


def _add_one(header: bytes, packed: Packed) -> tuple[bytes, Packed | None]:
    packed += 1
    return b"re " + header, packed


class SuperNode:
    """SuperNode's Runtime API and memory, without its way to the centre."""

    def __init__(self, folder: Path) -> None:
        self.place = SuperNodePlace(folder / "flower", 0)
        port = prepare(self.place)
        factory = NodeStateFactory(objectstore_factory=ObjectStoreFactory())
        self.state = factory.state()
        self.store = self.state.object_store
        self.state.set_node_id(NODE)
        app = create_app(factory, self.place.secret.read_bytes())
        config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.02)

    def hand_over(self, content: RecordDict, *, kind: str, ttl_s: float) -> None:
        """What SuperNode does when a message comes in."""
        digest = hashlib.sha256(BUNDLE).hexdigest()
        self.state.store_fab(Fab(digest, BUNDLE, {}))
        run = Run.create_empty(RUN)
        run.fab_hash, run.series_id = digest, SERIES
        self.state.store_run(run)
        context = Context(RUN, NODE, {}, RecordDict(), {}, series_id=SERIES)
        self.state.set_run_series_context(SERIES, context)
        metadata = Metadata(
            run_id=RUN,
            message_id="",
            src_node_id=SUPERLINK_NODE_ID,
            dst_node_id=NODE,
            reply_to_message_id="",
            group_id="",
            created_at=time.time(),
            ttl=ttl_s,
            message_type="query",
        )
        message = make_message(metadata, content)
        metadata.__dict__["_message_id"] = message.object_id
        assert self.state.create_task(task_type=kind, run_id=RUN, fab_hash=digest)
        self.store.preregister(RUN, get_object_tree(message))
        self.state.store_message(make_message(metadata, RecordDict()))
        for object_id, part in get_all_nested_objects(message).items():
            self.store.put(object_id, part.deflate())

    def reply(self, timeout_s: float = 10) -> Message:
        """The reply, whole, once it is there."""
        until = time.monotonic() + timeout_s
        while not (found := self.state.get_messages_legacy(is_reply=True)):
            assert time.monotonic() < until, "no reply: this SuperNode is wedged"
            time.sleep(0.05)
        object_id = found[0].metadata.message_id
        contents: dict[str, bytes] = {}
        self._gather(self.store.get_object_tree(object_id), contents, until)
        message = inflate_object_from_contents(object_id, contents)
        assert isinstance(message, Message)
        return message

    def _gather(self, tree: ObjectTree, contents: dict[str, bytes], until: float) -> None:
        while not (content := self.store.get(tree.object_id)):
            assert time.monotonic() < until
            time.sleep(0.05)
        contents[tree.object_id] = content
        for child in tree.children:
            self._gather(child, contents, until)

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join(timeout=5)


@pytest.fixture
def supernode(tmp_path: Path) -> Iterator[SuperNode]:
    made = SuperNode(tmp_path)
    yield made
    made.close()


class Running:
    """An executor at work in a thread."""

    def __init__(
        self, place: SuperNodePlace, answer: Answerer = _add_one, allowed: frozenset[str] = ALLOWED
    ) -> None:
        app = make_client_app(answer)
        self.executor = Executor(place, app=app, allowed=allowed, grace_s=0.2)
        self.is_stuck: bool | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        self.is_stuck = self.executor.run()

    def stop(self) -> bool | None:
        self.executor.stop()
        self.thread.join(timeout=10)
        assert not self.thread.is_alive()
        return self.is_stuck


ORDER = encode(b"order", np.zeros(3, dtype="<f4"))


def test_an_order_is_answered_and_its_bundle_stays_packed(supernode: SuperNode) -> None:
    running = Running(supernode.place)
    supernode.hand_over(ORDER, kind=TaskType.CLIENT_APP, ttl_s=60)
    header, packed = decode(supernode.reply().content)
    assert header == b"re order"
    assert packed.tolist() == [1.0, 1.0, 1.0]
    assert running.stop() is False


@pytest.mark.parametrize(
    ("kind", "allowed"),
    [
        (TaskType.CLIENT_APP, frozenset[str]()),
        (TaskType.CLIENT_APP, frozenset({"sha256:" + "0" * 64})),
        (TaskType.AGENT_APP, ALLOWED),
    ],
)
def test_what_the_site_does_not_allow_is_refused_and_never_run(
    supernode: SuperNode, kind: str, allowed: frozenset[str]
) -> None:
    asked = []
    running = Running(supernode.place, lambda h, p: (asked.append(h), _add_one(h, p))[1], allowed)
    supernode.hand_over(ORDER, kind=kind, ttl_s=60)
    reply = supernode.reply()
    assert reply.error.code == ErrorCode.INVALID_FAB
    assert asked == []
    running.stop()


def test_an_answer_that_fails_is_an_error_without_its_text(supernode: SuperNode) -> None:
    def fail(header: bytes, packed: Packed) -> tuple[bytes, Packed | None]:
        raise ValueError("patient 4711")

    running = Running(supernode.place, fail)
    supernode.hand_over(ORDER, kind=TaskType.CLIENT_APP, ttl_s=60)
    error = supernode.reply().error
    assert error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
    assert error.reason == "ValueError"
    assert running.stop() is False


def test_a_message_of_another_shape_is_an_error_and_the_next_is_answered(
    supernode: SuperNode,
) -> None:
    running = Running(supernode.place)
    supernode.hand_over(RecordDict(), kind=TaskType.CLIENT_APP, ttl_s=60)
    assert supernode.reply().error.reason == "MessageError"
    supernode.hand_over(ORDER, kind=TaskType.CLIENT_APP, ttl_s=60)
    assert supernode.reply().has_content()
    running.stop()


def test_stopping_answers_what_is_under_way(supernode: SuperNode) -> None:
    has_begun = threading.Event()

    def dawdle(header: bytes, packed: Packed) -> tuple[bytes, Packed | None]:
        has_begun.set()
        time.sleep(30)
        return header, None

    running = Running(supernode.place, dawdle)
    supernode.hand_over(ORDER, kind=TaskType.CLIENT_APP, ttl_s=60)
    assert has_begun.wait(10)
    assert running.stop() is True
    assert supernode.reply().error.code == ErrorCode.CLIENT_APP_CRASHED


def test_an_answer_that_never_comes_ends_the_process_and_not_the_node(
    supernode: SuperNode,
) -> None:
    def dawdle(header: bytes, packed: Packed) -> tuple[bytes, Packed | None]:
        time.sleep(30)
        return header, None

    running = Running(supernode.place, dawdle)
    supernode.hand_over(ORDER, kind=TaskType.CLIENT_APP, ttl_s=0.5)
    assert supernode.reply().error.code == ErrorCode.CLIENT_APP_CRASHED
    running.thread.join(timeout=10)
    assert running.is_stuck is True


def test_without_the_nodes_secret_no_task_is_had(supernode: SuperNode) -> None:
    supernode.place.secret.write_bytes(secrets.token_bytes(32))
    running = Running(supernode.place)
    supernode.hand_over(ORDER, kind=TaskType.CLIENT_APP, ttl_s=60)
    time.sleep(0.7)
    assert supernode.state.get_messages_legacy(is_reply=True) == []
    assert running.stop() is False


def test_an_executor_waits_for_a_supernode_that_has_not_started(tmp_path: Path) -> None:
    place = SuperNodePlace(tmp_path / "flower", 0)
    running = Running(place)
    time.sleep(0.3)
    assert running.stop() is False
    with socket.socket() as probe:
        port = prepare(place)
        probe.bind(("127.0.0.1", port))
