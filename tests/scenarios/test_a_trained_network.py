"""A network that is trained from its first layer, by hospitals that do it in two ways."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from federation import HOSPITALS, POLICY, Federation, federation, small_plan

from hospital_node import views
from hospital_node.training.accountant import epsilon
from protocol.budget import Partition, account_of
from protocol.catalogue import CATALOGUE, initial_state, layout_of
from protocol.plan import Network, Plan
from protocol.round import OrderKind, RoundState

pytestmark = pytest.mark.scenario

CARD = CATALOGUE["groupnorm-cnn"]
BY_HOOKS = "south"


def allow(name: str, images: Path) -> None:
    """Each hospital lets the network in; one of them differentiates it by hooks."""
    home = images.parent
    (home / "policy.toml").write_text(f'{POLICY}allowed_networks = ["{CARD.name}"]\n')
    if name == BY_HOOKS:
        with (home / "node.toml").open("a") as file:
            file.write('\n[compute]\nengine = "opacus"\n')


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory, postgres: str) -> Iterator[Federation]:
    torch.set_num_threads(1)
    with federation(tmp_path_factory.mktemp("trained"), postgres, alter=allow) as everybody:
        yield everybody


@pytest.fixture(scope="module")
def plan(people: Federation) -> Plan:
    network = Network(name=CARD.name, weights_digest=CARD.weights_digest)
    made = small_plan("A network from its first layer", network=network)
    people.propose(made)
    for name in HOSPITALS:
        people.vote(name, made)
    people.activate(made, votes=len(HOSPITALS))
    return made


@pytest.fixture(scope="module")
def run_id(people: Federation, plan: Plan) -> str:
    return people.run(plan)


def test_every_hospital_trains_every_layer(people: Federation, plan: Plan, run_id: str) -> None:
    assert [one.state for one in people.rounds(run_id)] == [RoundState.CLOSED] * 2
    head = CARD.features + 1
    for name in HOSPITALS:
        update = people.exchange(run_id, name, OrderKind.TRAIN, 1).update
        assert update is not None
        assert update.size == layout_of(plan.network).size
        assert np.count_nonzero(update[:-head]) == update.size - head
    start = people.exchange(run_id, "north", OrderKind.TRAIN, 1).model
    np.testing.assert_array_equal(start, initial_state(plan.network))


def test_no_layer_is_trained_before_its_charge(people: Federation, plan: Plan, run_id: str) -> None:
    kinds = {"privacy.charged", "update.sent"}
    entries = [e for e in people.entries() if e.run_id == run_id and e.type in kinds]
    for name in HOSPITALS:
        mine = [e for e in entries if e.body["site"] == name and e.body["round"] > 0]
        assert [e.type for e in mine] == ["privacy.charged", "update.sent"] * 2
        site = people.sites[name]
        with site.pool.connection() as connection:
            charges = site.ledger.charges(connection, account_of(name), Partition.TRAIN)
        paid = [charge.mechanism for charge in charges if charge.plan_id == plan.id]
        assert 2.9 < epsilon(paid, 1e-5) <= 3.0


def test_each_hospital_judges_the_network_for_its_own(people: Federation, run_id: str) -> None:
    for site in people.sites.values():
        report = next(one for one in views.report_view(site) if one["run_id"] == run_id)
        assert 0 <= report["auc_global"] <= 1
        assert 0 <= report["auc_local"] <= 1
        assert report["images_train"] >= report["patients_train"] == 18


def test_the_log_of_such_a_run_verifies(people: Federation, run_id: str) -> None:
    findings = people.verify()
    assert findings.is_verified, [str(fault) for fault in findings.faults]
