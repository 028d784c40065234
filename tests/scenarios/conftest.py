"""One federation for all stories: three plans are proposed and voted before the first one runs."""

from collections.abc import Iterator

import pytest
import torch
from federation import HOSPITALS, Federation, federation, small_plan

from protocol.aggregation import Aggregation, AggregationRule
from protocol.plan import Plan


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory, postgres: str) -> Iterator[Federation]:
    torch.set_num_threads(1)
    with federation(tmp_path_factory.mktemp("federation"), postgres) as everybody:
        yield everybody


@pytest.fixture(scope="session")
def plans(people: Federation) -> tuple[Plan, Plan, Plan]:
    everybody = Aggregation(quorum=len(HOSPITALS), deadline_s=120)
    first = small_plan("The first plan")
    # The same patients in other words: a budget that went by the words would be full again.
    reworded = first.cohort.model_copy(update={"minimum_patients": 11})
    robust = Aggregation(rule=AggregationRule.GEOMETRIC_MEDIAN, quorum=2, deadline_s=120)
    made = (
        first,
        small_plan("The second plan", cohort=reworded, aggregation=robust),
        small_plan("The plan that needs everybody", aggregation=everybody, rounds=1),
    )
    for plan in made:
        people.propose(plan)
        for name in HOSPITALS:
            people.vote(name, plan)
        people.activate(plan, votes=len(HOSPITALS))
    return made


@pytest.fixture(scope="session")
def first_run(people: Federation, plans: tuple[Plan, Plan, Plan]) -> str:
    return people.run(plans[0])


@pytest.fixture(scope="session")
def second_run(people: Federation, plans: tuple[Plan, Plan, Plan], first_run: str) -> str:
    """A run that one hospital's budget no longer bears, since the first was paid from it."""
    return people.run(plans[1])
