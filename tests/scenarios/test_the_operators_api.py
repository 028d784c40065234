"""The coordinator's API over TLS: the centre's own certificate opens it, a hospital's does not."""

import threading
from collections.abc import Iterator

import pytest
from federation import Federation, small_plan, wait_until

from audit.settings import read_settings
from protocol.plan import Plan
from services.coordinator.__main__ import listen, make_server
from services.coordinator.app import create_app
from services.errors import CentreError
from services.operator import Coordinator
from services.settings import CentreSettings

pytestmark = pytest.mark.scenario


@pytest.fixture(scope="module")
def settings(people: Federation) -> Iterator[CentreSettings]:
    found = read_settings(people.folder / "centre" / "centre.toml", CentreSettings)
    server = make_server(found, create_app(people.centre, lambda _: None))
    with listen(found) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        wait_until(lambda: server.started)
        yield found
        server.should_exit = True
        thread.join(5)


def test_the_centre_sees_its_plans_and_runs(
    settings: CentreSettings, plans: tuple[Plan, Plan, Plan], first_run: str
) -> None:
    with Coordinator(settings) as coordinator:
        assert plans[0].id in {one["plan_id"] for one in coordinator.plans()}
        shown = coordinator.plan(plans[0].id)
        assert [vote["choice"] for vote in shown["votes"]] == ["approve"] * 3
        run = coordinator.run(first_run)
    assert run["state"] == "completed"
    assert [one["state"] for one in run["rounds"]] == ["closed", "closed"]
    assert [one["released"] for one in run["evaluations"]] == [True] * 3


def test_a_hospital_is_not_let_in(people: Federation, settings: CentreSettings) -> None:
    foreign = settings.model_copy(update={"tls": people.sites["north"].settings.tls})
    with Coordinator(foreign) as coordinator, pytest.raises(CentreError, match="own certificate"):
        coordinator.plans()


def test_what_is_not_there_is_said_in_words(settings: CentreSettings) -> None:
    with Coordinator(settings) as coordinator:
        with pytest.raises(CentreError, match="no run nowhere"):
            coordinator.run("nowhere")
        with pytest.raises(CentreError, match="no plan sha256:00"):
            coordinator.start("sha256:" + 64 * "0")


def test_a_plan_with_a_stranger_is_not_proposed(settings: CentreSettings) -> None:
    plan = small_plan(sites=("east", "north", "south"))
    with Coordinator(settings) as coordinator, pytest.raises(CentreError, match="invites east"):
        coordinator.propose(plan)


def test_a_plan_that_nobody_voted_on_does_not_run(settings: CentreSettings) -> None:
    plan = small_plan("Nobody voted on this")
    with Coordinator(settings) as coordinator:
        coordinator.propose(plan)
        assert coordinator.activate(plan.id) == {
            "active": False,
            "signers": [],
            "reason": "0 of 2 approvals so far",
        }
        with pytest.raises(CentreError, match="is not active"):
            coordinator.start(plan.id)
