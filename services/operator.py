"""The operator's way to the coordinator: its API, called with the centre's own certificate."""

import ssl
from typing import Any, Self

import httpx

from audit.settings import split_address
from protocol.plan import Plan
from protocol.words import Ground
from services.errors import CentreError, ConfigurationError
from services.settings import CentreSettings

TIMEOUT_S = 60.0
"""Reading ballots waits for the audit service; nothing here waits for a round."""


class Coordinator:
    """A running coordinator."""

    def __init__(self, settings: CentreSettings) -> None:
        host, port = split_address(settings.centre.listen)
        self._address = f"https://{host}:{port}"
        self._http = httpx.Client(
            base_url=self._address, verify=_context(settings), timeout=TIMEOUT_S, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def propose(self, plan: Plan) -> str:
        """Put a plan to the vote; returns its id."""
        return str(self._ask("POST", "/v1/plans", content=plan.to_bytes())["plan_id"])

    def plans(self) -> list[dict[str, Any]]:
        """Every plan, the newest first."""
        return list(self._ask("GET", "/v1/plans"))

    def plan(self, plan_id: str) -> dict[str, Any]:
        """One plan with its votes so far."""
        return dict(self._ask("GET", f"/v1/plans/{plan_id}"))

    def activate(self, plan_id: str) -> dict[str, Any]:
        """Count the ballots of a plan."""
        return dict(self._ask("POST", f"/v1/plans/{plan_id}/activate"))

    def withdraw(self, plan_id: str, ground: Ground) -> None:
        """Take a plan back for good."""
        self._ask("POST", f"/v1/plans/{plan_id}/withdraw", json={"ground": str(ground)})

    def start(self, plan_id: str) -> str:
        """Begin a run of an active plan; returns its id."""
        return str(self._ask("POST", "/v1/runs", json={"plan_id": plan_id})["run_id"])

    def runs(self) -> list[dict[str, Any]]:
        """Every run, the newest first."""
        return list(self._ask("GET", "/v1/runs"))

    def run(self, run_id: str) -> dict[str, Any]:
        """One run with its rounds and evaluations."""
        return dict(self._ask("GET", f"/v1/runs/{run_id}"))

    def replay(self, run_id: str) -> list[dict[str, Any]]:
        """Each closed round of a run, made again from the updates; takes as long as that takes."""
        return list(self._ask("GET", f"/v1/runs/{run_id}/replay", timeout=None))

    def _ask(self, method: str, path: str, **content: Any) -> Any:
        try:
            reply = self._http.request(method, path, **content)
        except httpx.HTTPError as cause:
            raise CentreError(
                f"the coordinator at {self._address} does not answer: {cause}; "
                "start it with `wardround centre up`"
            ) from cause
        if reply.is_error:
            raise CentreError(_detail(reply))
        return reply.json()


def _context(settings: CentreSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(settings.tls.ca))
        context.load_cert_chain(settings.tls.certificate, settings.tls.key)
    except (OSError, ssl.SSLError) as cause:
        raise ConfigurationError(f"tls: the centre's certificate is unusable: {cause}") from cause
    return context


def _detail(reply: httpx.Response) -> str:
    if reply.headers.get("content-type") == "application/problem+json":
        return str(reply.json()["detail"])
    return f"the coordinator answered {reply.status_code}"
