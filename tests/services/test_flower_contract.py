"""What of Flower's insides is built upon: one place that fails when an upgrade moves any of it."""

import ast
import inspect
from importlib.metadata import version

import pytest
from flwr.app.message import make_message, remove_content_from_message
from flwr.app.metadata import Metadata
from flwr.common.constant import (
    FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE,
    SUPERLINK_NODE_ID,
    ErrorCode,
    Status,
    SubStatus,
)
from flwr.common.serde import context_from_proto, message_to_proto
from flwr.proto import control_pb2, message_pb2, runtime_pb2
from flwr.supercore.constant import TaskType
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.inflatable import inflatable_object, inflatable_protobuf_utils, inflatable_utils
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.protobuf.client import ProtobufClient
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.superlink.cli.flower_superlink import _parse_args_run_superlink
from flwr.superlink.routers.fleet.router import router as fleet_router
from flwr.supernode import fleet_http_connection, start_client_internal
from flwr.supernode.cli.flower_supernode import _parse_args_run_supernode
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.runtime.run_clientapp import push_message, push_task_output

from services.door import FLEET_PATHS, MAX_BODY_BYTES


def _parameters(function: object) -> list[str]:
    assert callable(function)
    return list(inspect.signature(function).parameters)


def test_the_version_is_the_one_that_was_studied() -> None:
    assert version("flwr") == "1.41.0"


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (
            ProtobufClient.from_server_address,
            ["server_address", "insecure", "root_certificates", "interceptors", "retry_invoker"],
        ),
        (
            ProtobufClient.__init__,
            ["self", "base_url", "interceptors", "verify", "timeout", "retry_invoker"],
        ),
        (RuntimeTokenHttpInterceptor.__init__, ["self", "token"]),
        (RuntimeVersionHttpInterceptor.__init__, ["self", "component_name"]),
        (SuperExecAuthHttpInterceptor.__init__, ["self", "master_secret", "protected_methods"]),
        (make_message, ["metadata", "content", "error"]),
        (remove_content_from_message, ["message"]),
        (message_to_proto, ["message"]),
        (context_from_proto, ["context_proto"]),
        (push_message, ["client", "message", "context"]),
        (push_task_output, ["client", "context", "sub_status", "details"]),
        (inflatable_object.get_all_nested_objects, ["obj"]),
        (inflatable_object.get_object_tree, ["obj"]),
        (inflatable_object.iterate_object_tree, ["tree"]),
        (
            inflatable_protobuf_utils.make_pull_object_fn_protobuf,
            ["pull_object_protobuf", "node", "run_id"],
        ),
        (
            inflatable_protobuf_utils.make_push_object_fn_protobuf,
            ["push_object_protobuf", "node", "run_id", "session_id"],
        ),
        (
            inflatable_protobuf_utils.make_confirm_message_received_fn_protobuf,
            ["confirm_message_received_protobuf", "node", "run_id"],
        ),
    ],
)
def test_a_private_function_takes_what_it_took(function: object, parameters: list[str]) -> None:
    assert _parameters(function) == parameters


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (
            inflatable_utils.pull_objects,
            {"object_ids", "pull_object_fn", "max_time", "max_tries_per_object"}
            | {"initial_backoff", "backoff_cap"},
        ),
        (
            inflatable_utils.pull_and_inflate_object_from_tree,
            {"object_tree", "pull_object_fn", "confirm_object_received_fn", "return_type"}
            | {"max_tries_per_object", "initial_backoff", "backoff_cap"},
        ),
        (inflatable_utils.push_objects, {"objects", "push_object_fn", "object_ids_to_push"}),
        (inflatable_utils.inflate_object_from_contents, {"object_id", "object_contents"}),
        (
            Metadata.__init__,
            {"run_id", "message_id", "src_node_id", "dst_node_id", "reply_to_message_id"}
            | {"group_id", "created_at", "ttl", "message_type", "src_task_id"},
        ),
    ],
)
def test_a_private_function_still_takes_what_we_give_it(
    function: object, parameters: set[str]
) -> None:
    assert parameters <= set(_parameters(function))


@pytest.mark.parametrize(
    ("client", "calls"),
    [
        (ControlHttpClient, ("StartRun", "StopRun", "ListRuns", "ListNodes", "RegisterNode")),
        (
            RuntimeHttpClient,
            (
                *("AcquireTask", "PullTaskInput", "PushTaskOutput", "SendTaskHeartbeat"),
                *("PushMessages", "PullMessages", "PushObject", "PullObject", "GetNodes"),
                "ConfirmMessageReceived",
            ),
        ),
    ],
)
def test_a_client_has_the_calls_that_are_made(client: type, calls: tuple[str, ...]) -> None:
    for call in calls:
        assert _parameters(getattr(client, call)) == ["self", "request"]


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (control_pb2.StartRunRequest, {"fab"}),
        (control_pb2.StartRunResponse, {"run_id"}),
        (control_pb2.StopRunRequest, {"run_id"}),
        (control_pb2.ListRunsResponse, {"run_dict"}),
        (control_pb2.RegisterNodeRequest, {"public_key"}),
        (control_pb2.ListNodesResponse, {"nodes_info"}),
        (runtime_pb2.AcquireTaskRequest, {"supported_task_types"}),
        (runtime_pb2.AcquireTaskResponse, {"task", "token"}),
        (runtime_pb2.PullTaskInputResponse, {"context", "fab"}),
        (runtime_pb2.PushTaskOutputRequest, {"sub_status", "details"}),
        (runtime_pb2.SendTaskHeartbeatResponse, {"success"}),
        (runtime_pb2.PushAppMessagesRequest, {"messages_list", "message_object_trees"}),
        (runtime_pb2.PushAppMessagesResponse, {"message_ids", "objects_to_push", "session_id"}),
        (runtime_pb2.PullAppMessagesResponse, {"messages_list", "message_object_trees"}),
        (message_pb2.ConfirmMessageReceivedRequest, {"node", "run_id", "message_object_id"}),
    ],
)
def test_a_protobuf_message_has_the_fields_that_are_used(message: type, fields: set[str]) -> None:
    descriptor = message.DESCRIPTOR  # type: ignore[attr-defined]
    assert fields <= {field.name for field in descriptor.fields}


def test_codes_and_states_mean_what_they_meant() -> None:
    assert SUPERLINK_NODE_ID == 1
    assert (Status.FINISHED, SubStatus.COMPLETED, SubStatus.FAILED) == (
        "finished",
        "completed",
        "failed",
    )
    assert {TaskType.SERVER_APP, TaskType.CLIENT_APP} <= set(TaskType)
    codes = {name: code for name, code in vars(ErrorCode).items() if isinstance(code, int)}
    assert codes == {
        "UNKNOWN": 0,
        "LOAD_CLIENT_APP_EXCEPTION": 1,
        "CLIENT_APP_RAISED_EXCEPTION": 2,
        "MESSAGE_UNAVAILABLE": 3,
        "REPLY_MESSAGE_UNAVAILABLE": 4,
        "NODE_UNAVAILABLE": 5,
        "MOD_FAILED_PRECONDITION": 6,
        "INVALID_FAB": 7,
        "CLIENT_APP_CRASHED": 8,
    }


def test_supernode_looks_up_its_client_and_its_sleep_where_they_are_replaced() -> None:
    connect = inspect.getsource(fleet_http_connection.http_request_response)
    assert "with FleetHttpClient.from_server_address(" in connect
    assert fleet_http_connection.FleetHttpClient is FleetHttpClient
    tree = ast.parse(inspect.getsource(start_client_internal))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "time"
    }
    assert used == {"sleep"}


def test_the_door_knows_every_call_of_a_node_but_the_two_that_are_the_centres() -> None:
    paths = {route.path for route in fleet_router.routes}  # type: ignore[attr-defined]
    assert paths - FLEET_PATHS == {"/v1/fleet/register-node", "/v1/fleet/unregister-node"}
    assert paths >= FLEET_PATHS


def test_a_piece_of_an_array_fits_through_the_door() -> None:
    assert FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE < MAX_BODY_BYTES / 2


def test_superlink_and_supernode_take_the_options_they_are_given() -> None:

    link = _parse_args_run_superlink().format_help()
    node = _parse_args_run_supernode().format_help()
    for option in ("--host", "--port", "--isolation", "--superexec-auth-secret-file"):
        assert option in link
        assert option in node
    for option in ("--ssl-certfile", "--ssl-keyfile", "--ssl-ca-certfile", "--database"):
        assert option in link
    for option in ("--enable-supernode-auth", "--disable-runtime-dependency-installation"):
        assert option in link
    for option in ("--superlink", "--root-certificates", "--auth-supernode-private-key"):
        assert option in node
