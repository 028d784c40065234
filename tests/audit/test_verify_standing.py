"""Withdrawn plans, revoked sites, activations, releases, scores: each test changes one thing."""

from dataclasses import replace

import pytest
from audit_story import (
    HOSPITALS,
    RUN,
    Story,
    approved,
    assert_only,
    digest,
    findings_of,
    whole_story,
)

from audit.verifying.findings import Fault
from protocol import events
from protocol.ballot import Ballot, Choice, Rule, activation_of
from protocol.budget import Exhaustion, Partition, account_of
from protocol.event import Actor, ActorKind
from protocol.release import (
    Accept,
    Judgement,
    ModelRelease,
    ModelWithdrawal,
    Override,
    OverrideSubject,
    Read,
)
from protocol.run import PlanWithdrawal, contribution_of
from protocol.standing import Revocation
from protocol.words import Ground

READER = Actor(ActorKind.PERSON, "person:0a1b", "Org east", "reader", "review")
MODEL = digest("model 2")


def withdraw(story: Story, party: str = "centre") -> None:
    withdrawal = PlanWithdrawal(plan_id=story.plan.id, ground=Ground.SAFETY)
    story.write(party, events.plan_withdrawn(withdrawal))


def activate(story: Story, ballots: list[Ballot], **changes: object) -> None:
    signers = tuple(sorted(b.site for b in ballots if b.choice is Choice.APPROVE))
    made = activation_of(story.plan, ballots, story.consortium.rule, signers=signers)
    story.write("centre", events.plan_activated(made.model_copy(update=changes)))


def read(story: Story, site: str, judgement: Judgement = Judgement.ACCEPT) -> Read:
    return Read(
        plan_id=story.plan.id,
        run_id=RUN,
        site=site,
        model_digest=MODEL,
        judgement=judgement,
        cases_noised=20,
        reads_commitment=digest(f"reads of {site}"),
    )


def release(story: Story, reads: list[Read], *, needed: int = 2, model: str = MODEL) -> None:
    accepts = tuple(Accept(site=one.site, read_digest=one.digest) for one in reads)
    made = ModelRelease(
        plan_id=story.plan.id,
        run_id=RUN,
        model_digest=model,
        accepts_needed=needed,
        accepts=accepts,
    )
    story.write("centre", events.model_released(made))


def accepted() -> tuple[Story, list[Read]]:
    story = whole_story()
    reads = [read(story, site) for site in ("east", "north")]
    for one in reads:
        story.write(one.site, events.read_signed(one, READER))
    return story, reads


def test_a_round_after_the_plans_withdrawal_is_found() -> None:
    story = approved()
    story.run_round(1)
    withdraw(story)
    story.open(2)
    assert_only(story, Fault.GOVERNANCE, "after the plan was withdrawn")


def test_a_round_that_was_open_may_end_after_the_withdrawal() -> None:
    story = approved()
    story.open(1)
    withdraw(story)
    for site in HOSPITALS:
        story.send(site, 1, story.charge(site, 1))
    story.close(1)
    assert findings_of(story).faults == ()


def test_a_withdrawal_by_a_hospital_is_found_and_has_no_effect() -> None:
    story = approved()
    withdraw(story, "east")
    story.run_round(1)
    assert len(findings_of(story).faults) == 1
    assert_only(story, Fault.GOVERNANCE, "who is not the centre")


def test_a_round_opened_to_a_revoked_site_is_found_and_so_is_its_update() -> None:
    story = approved()
    revocation = Revocation(site="south", ground=Ground.LEFT)
    story.write("centre", events.site_revoked(revocation))
    story.open(1)
    story.send("south", 1, story.charge("south", 1))
    assert len(findings_of(story).faults) == 2
    assert_only(story, Fault.GOVERNANCE, "'south', who had been revoked")


def test_an_honest_activation_is_decided_again_alike() -> None:
    story = approved()
    activate(story, [story.ballot(site) for site in HOSPITALS])
    assert findings_of(story).faults == ()


def test_an_activation_that_counts_a_ballot_nobody_cast_is_found() -> None:
    story = Story()
    story.found()
    for site in ("east", "north"):
        story.vote(site)
    activate(story, [story.ballot(site) for site in HOSPITALS])
    assert_only(story, Fault.GOVERNANCE, "counts a ballot that was not cast before")


def test_an_activation_by_another_rule_is_found() -> None:
    story = approved()
    ballots = [story.ballot(site) for site in HOSPITALS]
    easy = activation_of(story.plan, ballots, Rule(approvals=1), signers=HOSPITALS)
    story.write("centre", events.plan_activated(easy))
    assert_only(story, Fault.GOVERNANCE, "by another rule than the consortium's")


def test_an_activation_below_the_rule_or_of_other_signers_is_found() -> None:
    story = approved()
    activate(story, [story.ballot("east")])
    assert_only(story, Fault.GOVERNANCE, "after 1 approvals; the rule asks for 2")
    story = approved()
    activate(story, [story.ballot(site) for site in HOSPITALS], signers=("east", "north"))
    assert_only(story, Fault.GOVERNANCE, "does not name those whose ballots")


def test_an_honest_release_stands_on_its_accepts() -> None:
    story, reads = accepted()
    release(story, reads)
    assert findings_of(story).faults == ()


def test_a_release_without_its_accepts_is_found() -> None:
    story, reads = accepted()
    release(story, reads[:1])
    assert_only(story, Fault.GOVERNANCE, "on 1 accepts; it asks for 2")
    story = whole_story()
    release(story, [read(story, "east"), read(story, "north")])
    assert_only(story, Fault.GOVERNANCE, "an accept that 'east' had not signed before")


def test_a_rejection_counts_for_no_accept() -> None:
    story = whole_story()
    rejection = read(story, "east", Judgement.REJECT)
    story.write("east", events.read_signed(rejection, READER))
    release(story, [rejection], needed=1)
    assert_only(story, Fault.GOVERNANCE, "does not accept this model")


def test_an_accept_of_another_model_counts_for_no_accept() -> None:
    story, reads = accepted()
    other = read(story, "east").model_copy(update={"model_digest": digest("another model")})
    story.write("east", events.read_signed(other, READER))
    release(story, [other, reads[1]])
    found = [str(fault) for fault in findings_of(story).faults]
    assert any("does not accept this model" in text for text in found)


@pytest.mark.parametrize("kind", [ActorKind.SERVICE, ActorKind.SYSTEM])
def test_a_read_on_the_word_of_a_machine_is_found(kind: ActorKind) -> None:
    story = whole_story()
    machine = replace(READER, kind=kind)
    story.write("east", events.read_signed(read(story, "east"), machine))
    found = [str(fault) for fault in findings_of(story).faults]
    assert any("names no person" in text for text in found)


def test_a_release_of_what_was_no_candidate_is_found() -> None:
    story = whole_story()
    release(story, [], needed=0, model=digest("model 1"))
    assert_only(story, Fault.GOVERNANCE, "a model that was no candidate")


def test_a_read_on_nobodys_word_or_for_another_hospital_is_found() -> None:
    story = whole_story()
    story.write("east", replace(events.read_signed(read(story, "east"), READER), actor=None))
    assert_only(story, Fault.GOVERNANCE, "names no person")
    story = whole_story()
    story.write("north", events.read_signed(read(story, "east"), READER))
    assert_only(story, Fault.GOVERNANCE, "a read of 'east' signed by demo/north")


def test_a_withdrawal_of_a_model_nobody_released_is_found() -> None:
    story = whole_story()
    withdrawal = ModelWithdrawal(
        plan_id=story.plan.id, run_id=RUN, model_digest=MODEL, ground=Ground.SAFETY
    )
    story.write("centre", events.model_withdrawn(withdrawal))
    assert_only(story, Fault.GOVERNANCE, "withdraws a model that was not released")


def test_an_override_without_a_person_is_found() -> None:
    story = whole_story()
    override = Override(
        subject=OverrideSubject.ROUND,
        event_id="0199f2a3-5b6c-7d8e-9f01-23456789abcd",
        before="run",
        after="stop",
        ground=Ground.SAFETY,
    )
    story.write("centre", replace(events.oversight_override(override, READER), actor=None))
    assert_only(story, Fault.GOVERNANCE, "names no person")


def test_scores_are_computed_again_from_the_closings() -> None:
    closings = (whole_story().closing(1), whole_story().closing(2, ("east", "north")))
    story = whole_story()
    honest = contribution_of(story.plan, RUN, signers=HOSPITALS, closings=closings)
    assert {one.site: one.score for one in honest.scores}["south"] == "0.5"
    story.write("centre", events.contribution_scored(honest))
    assert findings_of(story).faults == ()
    flattered = contribution_of(story.plan, RUN, signers=HOSPITALS, closings=closings[:1])
    story.write(
        "centre",
        events.contribution_scored(
            flattered.model_copy(update={"evidence_digest": honest.evidence_digest})
        ),
    )
    assert_only(story, Fault.GOVERNANCE, "does not score 'south' with its share")


def test_scores_from_other_closings_are_found() -> None:
    story = whole_story()
    alone = contribution_of(
        story.plan, RUN, signers=HOSPITALS, closings=[story.closing(2, ("east", "north"))]
    )
    story.write("centre", events.contribution_scored(alone))
    assert_only(story, Fault.GOVERNANCE, "from other closings")


def test_a_charge_that_says_it_costs_less_by_itself_is_found() -> None:
    story = approved()
    story.open(1)
    story.charge("east", 1, change=lambda body: body.update(epsilon_alone="0.001"))
    assert_only(story, Fault.PRIVACY, "by itself costs")


def test_an_account_that_is_exhausted_by_no_charge_is_found() -> None:
    story = approved()
    exhaustion = Exhaustion(
        site="east",
        account=account_of("east"),
        partition=Partition.TRAIN,
        plan_id=story.plan.id,
        run_id=RUN,
        round=1,
        epsilon="2",
        next="4",
        cap="3",
        delta="0.00001",
        charge_digest=digest("no charge"),
    )
    story.write("east", events.privacy_exhausted(exhaustion))
    assert_only(story, Fault.PRIVACY, "by a charge that did not come before")
