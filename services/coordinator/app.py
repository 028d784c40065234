"""The coordinator's HTTPS API, for the centre's own operator.

The one rule: whoever calls must show the centre's own certificate. Every member of the consortium
holds one of the same authority, so being let in by TLS is not enough.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict

from protocol.ballot import Activated
from protocol.plan import Plan
from protocol.record import Digest
from protocol.words import Ground
from services import problems
from services.centre import Centre
from services.coordinator import store
from services.coordinator.replay import replay
from services.coordinator.runs import create_run, load_run
from services.coordinator.views import plan_view, replay_view, run_view
from services.registry import plans
from services.registry.ballots import read_ballots
from services.registry.store import load_plan, load_plans


class RunRequest(BaseModel):
    """What to run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan_id: Digest


class Withdrawal(BaseModel):
    """Why a plan is taken back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ground: Ground


def create_app(centre: Centre, start_run: Callable[[str], None]) -> FastAPI:
    """The API; `start_run` is handed the id of each run that was created."""
    app = FastAPI(title="Wardround coordinator", docs_url=None, redoc_url=None, openapi_url=None)
    problems.install(app)

    @app.middleware("http")
    async def let_in(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        if getattr(request.state, "peer", None) != centre.name:
            return problems.problem(
                HTTPStatus.FORBIDDEN, f"only {centre.name}'s own certificate is let in here"
            )
        return await call_next(request)

    @app.get("/v1/health")
    def health() -> dict[str, Any]:
        with centre.pool.connection() as connection:
            connection.execute("SELECT 1")
        return {"status": "ready", "centre": centre.name}

    _add_plans(app, centre)
    _add_runs(app, centre, start_run)
    return app


def _add_plans(app: FastAPI, centre: Centre) -> None:
    @app.post("/v1/plans", status_code=HTTPStatus.CREATED)
    async def propose(request: Request) -> dict[str, Any]:
        plan = Plan.from_bytes(await request.body())
        plans.propose(centre, plan)
        return {"plan_id": plan.id}

    @app.get("/v1/plans")
    def list_plans() -> list[dict[str, Any]]:
        with centre.pool.connection() as connection:
            return [plan_view(stored, ()) for stored in load_plans(connection)]

    @app.get("/v1/plans/{plan_id}")
    def show_plan(plan_id: str) -> dict[str, Any]:
        with centre.pool.connection() as connection:
            stored = load_plan(connection, plan_id)
        return plan_view(stored, read_ballots(centre, plan_id))

    @app.post("/v1/plans/{plan_id}/activate")
    def activate(plan_id: str) -> dict[str, Any]:
        decision = plans.activate(centre, plan_id)
        if isinstance(decision, Activated):
            return {"active": True, "signers": list(decision.signers), "reason": ""}
        return {"active": False, "signers": [], "reason": decision.reason}

    @app.post("/v1/plans/{plan_id}/withdraw")
    def withdraw(plan_id: str, asked: Withdrawal) -> dict[str, Any]:
        plans.withdraw(centre, plan_id, asked.ground)
        return {"plan_id": plan_id, "state": "withdrawn"}


def _add_runs(app: FastAPI, centre: Centre, start_run: Callable[[str], None]) -> None:
    @app.post("/v1/runs", status_code=HTTPStatus.CREATED)
    def create(asked: RunRequest) -> dict[str, Any]:
        run_id = create_run(centre, asked.plan_id)
        start_run(run_id)
        return {"run_id": run_id}

    @app.get("/v1/runs")
    def list_runs() -> list[dict[str, Any]]:
        with centre.pool.connection() as connection:
            return [run_view(run, (), ()) for run in store.load_runs(connection)]

    @app.get("/v1/runs/{run_id}")
    def show_run(run_id: str) -> dict[str, Any]:
        with centre.pool.connection() as connection:
            run = store.load_run(connection, run_id)
            rounds = store.load_rounds(connection, run_id)
            return run_view(run, rounds, store.load_evaluations(connection, run_id))

    @app.get("/v1/runs/{run_id}/replay")
    def replay_run(run_id: str) -> list[dict[str, Any]]:
        return [replay_view(one) for one in replay(centre, load_run(centre, run_id))]
