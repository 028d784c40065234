"""A patient withdraws after a run: what used the images is listed, and nothing uses them again."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from federation import Exchange, Federation, federation, small_plan
from typer.testing import CliRunner

from audit.entry import Entry
from hospital_node import cli, participation, store, withdrawal
from hospital_node.imaging import dataset, index, tensors
from hospital_node.imaging.deidentify import pseudonym
from hospital_node.training.randomness import Randomness
from protocol.events import Kind
from protocol.plan import Plan
from protocol.round import Answer, OrderKind, Verdict
from protocol.update import Packed
from protocol.words import Ground, Reason

pytestmark = pytest.mark.scenario

SITE = "north"


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, postgres: str) -> Iterator["Story"]:
    with federation(tmp_path_factory.mktemp("withdrawn"), postgres) as people:
        yield Story(people)


class Story:
    """A run, then a withdrawal by the command, with the identifier piped in."""

    def __init__(self, people: Federation) -> None:
        self.people = people
        self.plan: Plan = small_plan("The plan before", rounds=1)
        people.propose(self.plan)
        for name in people.sites:
            people.vote(name, self.plan)
        people.activate(self.plan, votes=len(people.sites))
        self.run_id = people.run(self.plan)
        people.settle()
        self.config = people.folder / SITE / "node.toml"
        self.patient_id = self._a_training_patient()
        self.before = self.ask("cohort", "show", "--json")
        self.kept_before = left_of(self, self.pseudonym())
        self.withdrawn = self.ask("withdraw", "--json", typed=self.patient_id + "\n")

    def ask(self, *words: str, typed: str = "") -> list[dict] | dict:
        result = CliRunner().invoke(
            cli.app, [*words, "--config", str(self.config)], input=typed, catch_exceptions=False
        )
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def pseudonym(self) -> str:
        key = self.people.sites[SITE].settings.keys.pseudonym.read_bytes()
        return pseudonym(key, self.patient_id)

    def order(self) -> Exchange:
        return self.people.exchange(self.run_id, SITE, OrderKind.TRAIN, 1)

    def _a_training_patient(self) -> str:
        site = self.people.sites[SITE]
        key = site.settings.keys.pseudonym.read_bytes()
        with site.pool.connection() as connection:
            cast = store.load_ballot(connection, self.plan.id)
            chosen = dataset.select(connection, self.plan.cohort, salt=cast.salt)
        train = {patient.pseudonym for patient in chosen.train}
        known = (f"SYN{number:05d}" for number in range(1, 40))
        return next(one for one in known if pseudonym(key, one) in train)


def test_what_had_used_the_images_is_listed(story: Story) -> None:
    done = story.withdrawn
    assert done["is_new"]
    assert done["images"] >= 1
    assert [one["plan_id"] for one in done["ended"]] == [story.plan.id]
    assert {(one["round"], one["purpose"]) for one in done["uses"]} == {
        (0, "count"),
        (1, "training"),
        (0, "membership"),
    }
    assert {one["run_id"] for one in done["uses"]} == {"", story.run_id}
    assert [one["run_id"] for one in done["models"]] == [story.run_id]


def test_the_ballot_is_shown_as_ended(story: Story) -> None:
    (before,) = story.before
    assert before["state"] == "stands"
    assert before["never_leaves"]["patients_withdrawn"] == 0
    (after,) = story.ask("cohort", "show", "--json")
    assert after["state"].startswith("ended: patients were withdrawn")
    assert after["manifest"] == before["manifest"]
    assert after["told"] == before["told"]
    assert after["never_leaves"]["patients_withdrawn"] == 1


def test_what_the_caches_held_of_the_patient_is_gone_from_the_disk(story: Story) -> None:
    assert story.kept_before >= 2
    assert left_of(story, story.pseudonym()) == 0


def test_an_order_under_the_old_manifest_is_refused_with_the_reason(story: Story) -> None:
    asked = story.order()
    assert asked.answer.verdict is Verdict.ACCEPTED
    # Not even the answer that was kept is sent again: it was computed with the patient.
    site = story.people.sites[SITE]
    said, update = participation.answer(site, asked.order, asked.model)
    answer = Answer.from_bytes(said)
    assert (answer.verdict, answer.reason, update) == (
        Verdict.REFUSED,
        Reason.DATA_WITHDRAWN,
        None,
    )
    assert "propose the plan anew" in answer.explanation


def test_others_go_on_under_their_own_manifests(story: Story) -> None:
    asked = story.people.exchange(story.run_id, "south", OrderKind.TRAIN, 1)
    said, _ = participation.answer(story.people.sites["south"], asked.order, asked.model)
    assert Answer.from_bytes(said).verdict is Verdict.ACCEPTED


def test_the_consortium_learns_which_manifest_holds_no_longer_and_no_more(story: Story) -> None:
    (body,) = [
        Entry.parse(content).body for content in of_kind(story, "consortium", Kind.DATA_WITHDRAWN)
    ]
    site = story.people.sites[SITE]
    with site.pool.connection() as connection:
        cast = store.load_ballot(connection, story.plan.id)
        left = dataset.select(connection, story.plan.cohort, salt=cast.salt).manifest
    assert body == {
        "site": SITE,
        "manifest": cast.ballot.manifest,
        "remaining": left,
        "ground": "subject-request",
    }
    assert left != cast.ballot.manifest


def test_the_hospitals_own_log_says_who_and_under_a_digest(story: Story) -> None:
    (content,) = of_kind(story, "local", "patient.withdrawn")
    entry = Entry.parse(content)
    assert entry.body["patient"] == f"sha256:{story.pseudonym()}"
    assert entry.actor.id.startswith("person:")


def test_the_identifier_is_nowhere(story: Story) -> None:
    """Not in an entry, and in no table but those of paths."""
    site = story.people.sites[SITE]
    with site.pool.connection() as connection:
        rows = connection.execute("SELECT content FROM outbox_entry").fetchall()
        kept = connection.execute(
            "SELECT count(*) FROM imaging_withdrawal AS w WHERE w::text LIKE %s",
            (f"%{story.patient_id}%",),
        ).fetchone()
    assert kept[0] == 0
    assert not any(story.patient_id.encode() in bytes(content) for (content,) in rows)


def test_a_second_withdrawal_says_nothing_anew(story: Story) -> None:
    again = story.ask("withdraw", story.pseudonym(), "--json")
    assert not again["is_new"]
    assert again["ended"] == story.withdrawn["ended"]
    assert len(of_kind(story, "local", "patient.withdrawn")) == 1


def test_an_identifier_is_no_argument(story: Story) -> None:
    words = ["withdraw", story.patient_id, "--config", str(story.config)]
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == 2
    assert story.patient_id not in result.output


def test_the_hospital_can_vote_on_a_new_plan_without_the_patient(
    story: Story, next_plan: Plan
) -> None:
    with story.people.sites[SITE].pool.connection() as connection:
        assert story.pseudonym() not in bound_by(connection, next_plan)
        assert story.pseudonym() in bound_by(connection, story.plan)


@pytest.fixture(scope="module")
def next_plan(story: Story) -> Plan:
    plan = small_plan("The plan after", rounds=1)
    story.people.propose(plan)
    for name in (SITE, "south"):  # west's budget bears no second plan
        story.people.vote(name, plan)
    story.people.activate(plan, votes=2)
    return plan


def test_an_update_under_way_when_somebody_withdraws_does_not_leave(
    story: Story, next_plan: Plan
) -> None:
    site = story.people.sites[SITE]
    with site.pool.connection() as connection:
        patient = min(bound_by(connection, next_plan))

    def withdraw_and_go_on() -> Randomness:
        """The work asks for randomness once the patients are selected."""
        actor = site.person("withdraw")
        withdrawal.withdraw(site, patient, ground=Ground.SUBJECT_REQUEST, actor=actor)
        return site.randomness()

    hurried = replace(site, randomness=withdraw_and_go_on)
    said: list[tuple[bytes, Packed | None]] = []

    def answer(order: bytes, packed: Packed) -> tuple[bytes, Packed | None]:
        said.append(participation.answer(hurried, order, packed))
        return said[-1]

    story.people.run(next_plan, {SITE: answer})
    content, update = said[0]
    answered = Answer.from_bytes(content)
    assert (answered.kind, answered.reason) == (OrderKind.TRAIN, Reason.DATA_WITHDRAWN)
    assert update is None
    sent = [Entry.parse(content) for content in of_kind(story, "consortium", Kind.UPDATE_SENT)]
    assert next_plan.id not in {entry.plan_id for entry in sent}
    assert left_of(story, patient) == 0, "the work kept what it computed of the patient"


def test_a_preview_marks_what_never_leaves(story: Story, tmp_path: Path) -> None:
    file = tmp_path / "cohort.json"
    file.write_text(json.dumps(story.plan.cohort.to_json() | {"minimum_images": 2}))
    found = story.ask("cohort", "preview", str(file), "--json")
    whole = story.ask("cohort", "preview", "--plan", story.plan.id, "--json")
    assert found["never_leaves"]["patients_barred"] == 2
    assert 0 < found["never_leaves"]["patients_train"] < whole["never_leaves"]["patients_train"]
    assert found["told_by_a_vote"]["epsilon"] > 0
    assert found["consent_mode"] == "opt-out"


def left_of(story: Story, patient: str) -> int:
    """How many of a patient's images the caches' files hold something of, by any trace."""
    site = story.people.sites[SITE]
    with site.pool.connection() as connection:
        contents = index.contents_of(connection, patient)
    assert contents
    kept = [path for path in site.settings.site.state.rglob("*") if path.is_file()]
    shards = b"".join(path.read_bytes() for path in kept if path.suffix == ".npz")
    return sum(np.array([digest]).tobytes() in shards for digest in contents) + sum(
        tensors._stem(digest) in path.name for digest in contents for path in kept
    )


def bound_by(connection, plan: Plan) -> set[str]:
    rows = connection.execute(
        "SELECT pseudonym FROM ballot_patients WHERE plan_id = %s", (plan.id,)
    )
    return {patient for (patient,) in rows}


def of_kind(story: Story, log: str, kind: str) -> list[bytes]:
    """What this hospital has put into one of its logs."""
    with story.people.sites[SITE].pool.connection() as connection:
        rows = connection.execute(
            "SELECT content FROM outbox_entry WHERE log = %s ORDER BY seq", (log,)
        ).fetchall()
    return [bytes(content) for (content,) in rows if Entry.parse(bytes(content)).type == kind]
