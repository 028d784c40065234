"""The desk's API against its own description: no 500, no answer of another form, nobody unknown."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from audit_story import whole_story
from desk_parties import Opened, opened_desk
from hypothesis import HealthCheck, Phase, given, settings
from pydantic import TypeAdapter
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from audit.desk.app import create_app, create_routes
from audit.desk.callers import Role
from audit.desk.routes import queries

BOUNDED = settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
"""A few questions of each route, always the same: what matters is asked by name elsewhere."""

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)

SIGN_IN = {401, 403}


@pytest.fixture
def opened(dsn: str, tmp_path: Path) -> Iterator[Opened]:
    with opened_desk(dsn, whole_story(), tmp_path) as desk:
        yield desk


def operations(opened: Opened) -> Iterator[Any]:
    """Every operation of the description, to be asked of the whole application."""
    api = schemathesis.openapi.from_dict(create_routes(opened.desk).openapi())
    api.app = create_app(opened.desk)
    for found in api.get_all_operations():
        yield found.ok()


def test_every_question_that_the_description_allows_gets_an_answer_that_it_describes(opened):
    officer = opened.client_as(Role.RECORDS_OFFICER)
    asked = [ask_operation(operation, officer.headers["authorization"])
             for operation in operations(opened)]  # fmt: skip
    assert len(asked) >= 15
    assert sum(asked) >= 100


def ask_operation(operation: Any, authorization: str) -> int:
    """Ask one operation, as somebody and as nobody; how many questions it was asked."""
    count = 0

    @BOUNDED
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        nonlocal count
        count += 1
        case.headers.pop("Authorization", None)
        case.call_and_validate(headers={"Authorization": authorization}, checks=CHECKS)
        if operation.definition.raw.get("security"):
            nobody = case.call(headers={"Authorization": ""})
            assert nobody.status_code in SIGN_IN, (operation.label, nobody.status_code)

    ask()
    return count


def test_every_operation_is_described_with_its_errors_and_an_example(opened):
    description = create_routes(opened.desk).openapi()
    assert description["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    lacking = []
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            answers = operation["responses"]
            is_whole = operation.get("description") and {"401", "403", "422"} <= set(answers)
            if path.startswith("/v1/") and not is_whole:
                lacking.append((method, path))
    assert lacking == []


def test_each_example_is_an_answer_of_its_form(opened):
    answered = {
        route.path: route.response_model for route in queries.router.routes if route.response_model
    }
    shown = 0
    for path, methods in create_routes(opened.desk).openapi()["paths"].items():
        model = answered.get(path)
        if model is None or "get" not in methods:
            continue
        content = methods["get"]["responses"]["200"]["content"]["application/json"]
        TypeAdapter(model).validate_json(json.dumps(content["example"]), strict=True)
        shown += 1
    assert shown == len(answered) >= 13
