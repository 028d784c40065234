"""One federation for all stories: two plans are proposed and voted before the first one runs."""

from collections.abc import Iterator

import pytest
import torch
from federation import HOSPITALS, Federation, federation, small_plan

from protocol.plan import Plan


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory, postgres: str) -> Iterator[Federation]:
    torch.set_num_threads(1)
    with federation(tmp_path_factory.mktemp("federation"), postgres) as everybody:
        yield everybody


@pytest.fixture(scope="session")
def plans(people: Federation) -> tuple[Plan, Plan]:
    both = small_plan("The first plan"), small_plan("The second plan")
    for plan in both:
        people.propose(plan)
        for name in HOSPITALS:
            people.vote(name, plan)
        people.activate(plan, votes=len(HOSPITALS))
    return both


@pytest.fixture(scope="session")
def first_run(people: Federation, plans: tuple[Plan, Plan]) -> str:
    return people.run(plans[0])


@pytest.fixture(scope="session")
def second_run(people: Federation, plans: tuple[Plan, Plan], first_run: str) -> str:
    """A run that one hospital's budget no longer bears, since the first was paid from it."""
    return people.run(plans[1])
