"""Votes, rounds, participants and candidates: each test changes one thing of an honest run."""

from audit_story import (
    HOSPITALS,
    Story,
    approved,
    assert_only,
    digest,
    findings_of,
    whole_story,
)

from audit.verifying.findings import Fault
from protocol import events
from protocol.ballot import Choice, Rule


def test_a_round_opened_before_the_votes_is_found() -> None:
    story = Story()
    story.found()
    story.vote("east")
    story.open(1, ("east",))
    assert_only(story, Fault.GOVERNANCE, "after 1 approvals; the rule asks for 2")


def test_a_vote_that_comes_later_opens_nothing() -> None:
    story = Story()
    story.found()
    story.vote("east")
    story.open(1, ("east",))
    story.vote("north")
    assert_only(story, Fault.GOVERNANCE, "after 1 approvals")


def test_the_plans_quorum_is_needed_where_it_is_above_the_rule() -> None:
    story = Story()
    story.consortium = story.consortium.model_copy(update={"rule": Rule(approvals=1)})
    story.found()
    story.vote("east")
    story.open(1, ("east",))
    assert_only(story, Fault.GOVERNANCE, "the rule asks for 2")


def test_more_refusals_than_allowed_stop_a_plan() -> None:
    story = Story()
    story.consortium = story.consortium.model_copy(update={"rule": Rule(approvals=1)})
    story.found()
    for site in ("east", "north"):
        story.vote(site)
    story.vote("south", Choice.REFUSE)
    story.open(1, ("east", "north"))
    assert_only(story, Fault.GOVERNANCE, "after 1 refusals; the rule allows 0")


def test_a_round_opened_to_a_site_that_refused_is_found() -> None:
    story = Story()
    story.found()
    for site in ("east", "north"):
        story.vote(site)
    story.vote("south", Choice.REFUSE)
    story.open(1, HOSPITALS)
    assert_only(story, Fault.GOVERNANCE, "opens the round to 'south', who had not approved")


def test_the_first_ballot_of_a_site_counts() -> None:
    story = approved()
    story.vote("south", Choice.REFUSE)
    story.open(1)
    assert findings_of(story).faults == ()


def test_a_ballot_cast_for_another_site_is_found_and_does_not_count() -> None:
    story = Story()
    story.found()
    story.vote("east")
    story.write("east", events.plan_voted(story.ballot("north")))
    story.open(1, ("east",))
    findings = str(findings_of(story).faults)
    assert "a ballot of 'north' signed by demo/east" in findings
    assert "after 1 approvals" in findings


def test_a_plan_under_another_id_is_found() -> None:
    story = Story()
    other = story.plan.model_copy(update={"title": "Another"})
    story.write("centre", events.Event("plan.proposed", other.to_json(), story.plan.id))
    assert_only(story, Fault.GOVERNANCE, "not the digest of the plan")


def test_a_round_of_a_plan_that_was_not_proposed_is_found() -> None:
    story = Story()
    story.open(1)
    assert_only(story, Fault.GOVERNANCE, "a plan that was not proposed before")


def test_a_round_opened_by_a_hospital_is_found() -> None:
    story = approved()
    story.write("east", events.round_opened(story.opening(1)))
    assert_only(story, Fault.GOVERNANCE, "who is not the centre")


def test_a_round_opened_after_expiry_is_found() -> None:
    story = approved()
    story.clock_us = story.plan.expires_us
    story.open(1)
    assert_only(story, Fault.GOVERNANCE, "after the plan had expired")


def test_a_round_more_than_planned_is_found() -> None:
    story = approved()
    story.open(3)
    assert_only(story, Fault.GOVERNANCE, "opens round 3 of a plan of 2")


def test_a_round_opened_twice_is_found() -> None:
    story = approved()
    story.open(1)
    story.open(1)
    assert_only(story, Fault.GOVERNANCE, "opened before")


def test_a_round_that_starts_from_another_model_is_found() -> None:
    story = approved()
    story.run_round(1)
    opening = story.opening(2).model_copy(update={"model_digest": digest("smuggled")})
    story.write("centre", events.round_opened(opening))
    assert_only(story, Fault.GOVERNANCE, "starts from another model")


def test_an_update_for_a_round_that_was_not_opened_to_the_site_is_found() -> None:
    story = approved()
    story.open(1, ("east", "north"))
    story.send("south", 1, story.charge("south", 1))
    assert_only(story, Fault.GOVERNANCE, "a round that was not opened to it")


def test_a_closing_that_names_an_update_nobody_signed_is_found() -> None:
    story = approved()
    story.open(1)
    for site in ("east", "north"):
        story.send(site, 1, story.charge(site, 1))
    story.close(1)
    assert_only(story, Fault.GOVERNANCE, "an update of 'south' that 'south' never signed as sent")


def test_a_closing_with_another_digest_than_was_sent_is_found() -> None:
    story = approved()
    story.open(1)
    for site in HOSPITALS:
        story.send(site, 1, story.charge(site, 1), word="what was sent")
    story.close(1)
    assert len(findings_of(story).faults) == 3
    assert_only(story, Fault.GOVERNANCE, "never signed as sent")


def test_a_closing_below_the_quorum_is_found() -> None:
    story = approved()
    story.run_round(1, ("east",))
    assert_only(story, Fault.GOVERNANCE, "with 1 updates; the plan's quorum is 2")


def test_a_closing_that_is_silent_about_a_site_is_found() -> None:
    story = approved()
    story.open(1)
    for site in ("east", "north"):
        story.send(site, 1, story.charge(site, 1))
    closing = story.closing(1, ("east", "north")).model_copy(update={"exclusions": ()})
    story.write("centre", events.round_closed(closing))
    assert_only(story, Fault.GOVERNANCE, "does not account for every site")


def test_a_participant_counted_twice_is_found() -> None:
    story = approved()
    story.open(1)
    for site in HOSPITALS:
        story.send(site, 1, story.charge(site, 1))
    closing = story.closing(1, HOSPITALS)
    twice = closing.model_copy(
        update={
            "participants": (*closing.participants, "south"),
            "update_digests": (*closing.update_digests, closing.update_digests[-1]),
        }
    )
    story.write("centre", events.round_closed(twice))
    assert_only(story, Fault.GOVERNANCE, "each participant once")


def test_a_round_closed_twice_or_never_opened_is_found() -> None:
    story = approved()
    story.run_round(1)
    story.close(1)
    story.close(2)
    assert len(findings_of(story).faults) == 2
    assert_only(story, Fault.GOVERNANCE, "ends a round that is not open")


def test_a_candidate_that_no_round_made_is_found() -> None:
    story = whole_story()
    story.candidate("smuggled model")
    assert_only(story, Fault.GOVERNANCE, "no closed round of its run ended with")
