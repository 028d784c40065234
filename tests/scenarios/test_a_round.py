"""A whole round, told as a story: proposed, voted, opened, charged, trained, summed, judged."""

from collections.abc import Iterator

import pytest
from federation import HOSPITALS, Federation, federation, small_plan

from protocol.plan import Plan

pytestmark = pytest.mark.scenario


@pytest.fixture(scope="module")
def story(
    tmp_path_factory: pytest.TempPathFactory, postgres: str
) -> Iterator[tuple[Federation, Plan, str]]:
    with federation(tmp_path_factory.mktemp("round"), postgres) as people:
        plan = small_plan()
        people.propose(plan)
        for name in HOSPITALS:
            people.vote(name, plan)
        people.activate(plan, votes=3)
        yield people, plan, people.run(plan)


def test_the_run_completes(story: tuple[Federation, Plan, str]) -> None:
    people, _, run_id = story
    with people.centre.pool.connection() as connection:
        from services.coordinator import store

        run = store.load_run(connection, run_id)
        rounds = store.load_rounds(connection, run_id)
    assert (run.state, run.explanation) == ("completed", "")
    assert [one.state for one in rounds] == ["closed", "closed"]
