"""The questions that auditors ask, each asked at a desk over the log of a recorded run."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_story import HOSPITALS, RUN, Story, digest, whole_story
from desk_parties import Opened, opened_desk

from audit.checkpoint import open_checkpoint
from audit.merkle import leaf_hash, root_of, verify_consistency
from audit.parties import parties_of
from audit.proof import check_proof
from audit.searching import projection
from protocol import events
from protocol.ballot import Activation, Counted
from protocol.event import Actor, ActorKind, Event
from protocol.manifest import Manifest
from protocol.provenance import Authorisation
from protocol.release import Judgement, Override, OverrideSubject, Read
from protocol.round import Reason
from protocol.run import Contribution, RunStart, Score
from protocol.words import Ground

READER = Actor(ActorKind.PERSON, "reader.7", "Org east", "radiologist", "reading")


def told() -> Story:
    """A run of two rounds, with what came before it and after it."""
    story = whole_story()
    begin(story)
    read(story)
    score(story)
    story.open(3)  # nobody ever closes it
    return story


def begin(story: Story) -> None:
    """The run's creation, its plan's activation, and what one hospital trains on."""
    plan = story.plan
    story.write("centre", events.run_created(RunStart(plan_id=plan.id, run_id=RUN, rounds=2)))
    votes = tuple(Counted(site=site, ballot_digest=story.ballot(site).digest) for site in HOSPITALS)
    authorisation = Authorisation(
        policy_digest=digest("rule"),
        input_digest=digest("ballots"),
        decision="allow",
        engine="wardround-rule/v1",
        version="1.0",
    )
    story.write(
        "centre",
        events.plan_activated(
            Activation(
                plan_id=plan.id, signers=HOSPITALS, ballots=votes, authorisation=authorisation
            )
        ),
    )
    story.write(
        "east",
        events.data_manifest(
            Manifest(
                plan_id=plan.id,
                site="east",
                manifest=digest("images of east"),
                patients_noised=321,
                deidentification="pixels-only/v1",
            )
        ),
    )


def read(story: Story) -> None:
    """A reader's judgement, and a person who overrides it."""
    plan = story.plan
    signed = events.read_signed(
        Read(
            plan_id=plan.id,
            run_id=RUN,
            site="east",
            model_digest=digest("model 2"),
            judgement=next(iter(Judgement)),
            cases_noised=40,
            reads_commitment=digest("reads"),
        ),
        READER,
    )
    entry = json.loads(story.write("east", signed))
    story.write(
        "centre",
        events.oversight_override(
            Override(
                subject=next(iter(OverrideSubject)),
                event_id=entry["event_id"],
                before="accept",
                after="reject",
                ground=Ground.SAFETY,
            ),
            READER,
        ),
    )


def score(story: Story) -> None:
    """What each hospital contributed."""
    plan = story.plan
    scores = tuple(
        Score(site=site, score=value)
        for site, value in zip(HOSPITALS, ("1", "1", "0.5"), strict=True)
    )
    story.write(
        "centre",
        events.contribution_scored(
            Contribution(
                plan_id=plan.id, run_id=RUN, evidence_digest=digest("closings"), scores=scores
            )
        ),
    )


@pytest.fixture
def opened(dsn: str, tmp_path: Path) -> Iterator[Opened]:
    with opened_desk(dsn, told(), tmp_path) as desk:
        yield desk


def entry_at(opened: Opened, index: int) -> dict:
    return json.loads(opened.story.entries[index])


def test_the_desk_answers_what_auditors_ask(opened):
    """One story, all questions: starting a log takes longer than asking it."""
    who_took_part_and_who_was_left_out(opened)
    which_data_was_used(opened)
    what_each_hospital_has_spent(opened)
    which_rule_allowed_it_and_who_voted(opened)
    which_rounds_led_to_the_model(opened)
    who_is_credited(opened)
    what_asks_for_attention(opened)
    who_looked_at_the_log(opened)
    is_what_i_hold_complete(opened)


def who_took_part_and_who_was_left_out(opened: Opened) -> None:
    answer = opened.get(f"/v1/runs/{RUN}/timeline")
    first, second, third = answer["rounds"]
    assert first["participants"] == list(HOSPITALS)
    assert second["participants"] == ["east", "north"]
    assert [(one["site"], one["reason"]) for one in second["left_out"]] == [("south", Reason.LATE)]
    closing = entry_at(opened, second["left_out"][0]["index"])
    assert (closing["type"], closing["round"]) == ("round.closed", 2)
    assert third["state"] == "open"
    assert answer["run"]["rounds_planned"] == 2
    assert answer["run"]["candidates"] == [digest("model 2")]
    assert [one["index"] for one in answer["moments"]] == [
        index for index, entry in enumerate(map(json.loads, opened.story.entries))
        if entry["run_id"] == RUN
    ]  # fmt: skip
    south = opened.get("/v1/nodes/south/participation")
    assert [(one["round"], one["outcome"], one["reason"]) for one in south["rounds"]] == [
        (1, "in", None),
        (2, "left-out", "late"),
        (3, "open", None),
    ]
    assert entry_at(opened, south["rounds"][0]["sent"])["producer"] == "demo/south"


def which_data_was_used(opened: Opened) -> None:
    (data,) = opened.get("/v1/nodes/east/participation")["data"]
    assert data["manifest"] == digest("images of east")
    assert entry_at(opened, data["index"])["body"]["deidentification"] == "pixels-only/v1"


def what_each_hospital_has_spent(opened: Opened) -> None:
    accounts = opened.get(f"/v1/runs/{RUN}/privacy-ledger")["accounts"]
    assert sorted(one["site"] for one in accounts) == sorted(HOSPITALS)
    for one in accounts:
        assert (one["unit"], one["partition"]) == ("patient", "train")
        assert len(one["charges"]) == (1 if one["site"] == "south" else 2)
        assert one["is_borne_out"]
        assert float(one["epsilon_logged"]) == pytest.approx(one["epsilon_recomputed"], rel=1e-3)
        assert one["budget_left"] == pytest.approx(8 - float(one["epsilon_logged"]))
        for charge in one["charges"]:
            assert entry_at(opened, charge["index"])["body"]["site"] == one["site"]


def which_rule_allowed_it_and_who_voted(opened: Opened) -> None:
    (proposal,) = opened.get("/v1/governance/proposals")["proposals"]
    assert proposal["rule"] == {"approvals": 2, "refusals_allowed": 1}
    assert proposal["meets_rule"]
    assert [(one["site"], one["choice"], one["counts"]) for one in proposal["votes"]] == [
        (site, "approve", True) for site in HOSPITALS
    ]
    assert {entry_at(opened, one["index"])["producer"] for one in proposal["votes"]} == {
        f"demo/{site}" for site in HOSPITALS
    }
    assert entry_at(opened, proposal["activation"]["index"])["type"] == "plan.activated"


def which_rounds_led_to_the_model(opened: Opened) -> None:
    answer = opened.get(f"/v1/models/{digest('model 2')}/lineage")
    assert answer["rounds"] == [f"round:{RUN}/1", f"round:{RUN}/2"]
    nodes = {one["id"]: one for one in answer["nodes"]}
    kinds = {one["kind"] for one in nodes.values()}
    assert kinds >= {"model", "round", "site", "plan", "approval", "charge", "data", "read"}
    for edge in answer["edges"]:
        assert edge["source"] in nodes
        assert edge["target"] in nodes
        assert edge["index"] < len(opened.story.entries)
    took_part = {
        (edge["source"], edge["target"])
        for edge in answer["edges"]
        if edge["relation"] == "took part"
    }
    assert ("site:south", f"round:{RUN}/1") in took_part
    assert ("site:south", f"round:{RUN}/2") not in took_part
    nothing = opened.get(f"/v1/models/{digest('nobody knows')}/lineage")
    assert not nothing["is_known"]


def who_is_credited(opened: Opened) -> None:
    (run,) = opened.get("/v1/contributions")["runs"]
    assert run["agrees"]
    assert {one["site"]: one["score_recounted"] for one in run["scores"]} == {
        "east": "1",
        "north": "1",
        "south": "0.5",
    }


def what_asks_for_attention(opened: Opened) -> None:
    found = opened.get("/v1/findings")["findings"]
    kinds = {one["kind"] for one in found}
    assert "override" in kinds
    assert "unanswered-opening" in kinds
    assert not kinds & {"gap", "fork", "anomaly"}
    (override,) = [one for one in found if one["kind"] == "override"]
    assert entry_at(opened, override["entries"][0])["type"] == "oversight.override"
    with opened.desk.pool.connection() as connection:
        row = connection.execute(
            "DELETE FROM audit_event WHERE producer = 'demo/north' AND seq = 1 RETURNING idx"
        ).fetchone()
    (gap,) = [one for one in opened.get("/v1/findings")["findings"] if one["kind"] == "gap"]
    assert (gap["entries"], gap["gravity"]) == (list(row), "fault")
    with opened.desk.pool.connection() as connection:
        names = {one.producer: one.organisation for one in parties_of(opened.desk.consortium)}
        projection.project_again(connection, names)
    assert not [one for one in opened.get("/v1/findings")["findings"] if one["kind"] == "gap"]


def who_looked_at_the_log(opened: Opened) -> None:
    me = opened.get("/v1/whoami")["id"]
    opened.settle()
    looked = opened.get("/v1/events", type="audit.query", actor=me)["entries"]
    routes = [one["entry"]["body"]["route"] for one in looked]
    assert "GET /v1/runs/{run_id}/privacy-ledger" in routes
    assert "GET /v1/models/{digest}/lineage" in routes


def is_what_i_hold_complete(opened: Opened) -> None:
    """Read page by page, with nothing but the log's key, it comes to the signed root."""
    opened.settle()
    opened.cosign()
    leaves: dict[int, bytes] = {}
    after, note = -1, ""
    while after is not None:
        page = opened.get("/v1/events", after=after, limit=7)
        note = note or page["checkpoint"]["note"]
        leaves.update({one["index"]: bytes.fromhex(one["leaf"]) for one in page["entries"]})
        after = page["next_after"]
        # A full page says no more than it looked at: the rest may hold what was asked for.
        assert after is None or page["scanned_to"] == after + 1
    checkpoint = open_checkpoint(note, opened.story.log.verifier)
    assert root_of(leaves[index] for index in range(checkpoint.size)) == checkpoint.root
    _one_click_from_a_claim_to_its_proof(opened)
    _an_older_checkpoint_is_extended(opened)


def _one_click_from_a_claim_to_its_proof(opened: Opened) -> None:
    page = opened.get("/v1/events", type="plan.voted")
    one = page["entries"][1]
    proof = opened.client.get(one["proof"])
    check_proof(
        proof.text,
        bytes.fromhex(one["leaf"]),
        log_verifier=opened.story.log.verifier,
        witness_policy=opened.desk.trust.witnesses,
    )
    by_id = opened.get(f"/v1/events/{one['entry']['event_id']}")
    assert leaf_hash(base64.b64decode(by_id["content"])).hex() == one["leaf"]


def _an_older_checkpoint_is_extended(opened: Opened) -> None:
    leaves = [leaf_hash(entry) for entry in opened.story.entries]
    new = opened.get("/v1/events", limit=1)["checkpoint"]
    answer = opened.get("/v1/proofs/consistency", old=9, new=new["size"])
    verify_consistency(
        9,
        new["size"],
        proof=tuple(map(base64.b64decode, answer["proof"])),
        old_root=root_of(leaves[:9]),
        new_root=open_checkpoint(new["note"], opened.story.log.verifier).root,
    )


def test_bodies_of_no_known_form_spoil_no_answer(opened):
    """Any member may sign any body; an answer shows what can be read of it."""
    story = opened.story
    known = len(story.entries)
    kinds = [str(kind) for kind in events.Kind]
    odd = ({}, {"site": 7, "sites": "east", "participants": [[]], "exclusions": [{}], "scores": {}})
    for kind in kinds:
        for number, body in enumerate(odd):
            spoilt = Event(kind, {**body, "mechanism": [number], "model_digest": "\0"})
            place = {"plan_id": story.plan.id, "run_id": RUN, "round": number}
            story.write("east", Event(spoilt.type, spoilt.body, **place))
    story.write("east", Event("privacy.charged", _charge("1e-200"), run_id=RUN))
    story.write("east", Event("privacy.charged", _charge("1e300"), run_id=RUN))
    story.write("east", Event("round.opened", {"deadline_us": "soon"}, run_id="r" * 100))
    story.write("east", Event("plan.voted", _nested(30), run_id=RUN))
    opened.write(story.entries[known:])
    for path in (
        "/v1/runs",
        f"/v1/runs/{RUN}/timeline",
        f"/v1/runs/{RUN}/privacy-ledger",
        f"/v1/models/{digest('model 2')}/lineage",
        "/v1/governance/proposals",
        "/v1/nodes/east/participation",
        "/v1/contributions",
        "/v1/findings",
        "/v1/health/log",
    ):
        answer = opened.client.get(path)
        assert answer.status_code == 200, (path, answer.text)


def _charge(noise: str) -> dict:
    mechanism = {
        "name": "sampled-gaussian",
        "noise_multiplier": noise,
        "sample_rate": "0.5",
        "steps": 1,
    }
    return {"mechanism": mechanism, "delta": "0.00001", "epsilon": "NaN", "budget": "1e999"}


def _nested(depth: int) -> dict:
    value: dict = {}
    for _ in range(depth):
        value = {"in": [value]}
    return value


def test_a_rebuilt_projection_holds_what_the_first_one_held(opened):
    with opened.desk.pool.connection() as connection:
        query = "SELECT * FROM audit_event WHERE idx < %s ORDER BY idx"
        size = len(opened.story.entries)
        before = connection.execute(query, [size]).fetchall()
        names = {one.producer: one.organisation for one in parties_of(opened.desk.consortium)}
        assert projection.project_again(connection, names) >= size
        assert connection.execute(query, [size]).fetchall() == before
        assert len(before) == size


FILTERS = (
    ({"type": "plan.voted"}, 3),
    ({"type": "plan."}, 5),
    ({"organisation": "Org south"}, 3),
    ({"actor": "reader.7"}, 2),
    ({"model": digest("model 1")}, 2),
    ({"round": 2, "producer": "demo/north"}, 2),
    ({"site": "south", "type": "round.closed"}, 2),
    ({"outcome": 8}, 0),
    ({"since_us": 1_760_000_000_000_000, "until_us": 1_760_000_003_000_000}, 2),
)


def test_filters_narrow_a_search(opened):
    for filters, expected in FILTERS:
        entries = opened.get("/v1/events", **filters)["entries"]
        assert len(entries) == expected, (filters, [one["entry"]["type"] for one in entries])
