"""What the events claim, checked: each test changes one thing about an honest run."""

from collections.abc import Callable

import pytest
from audit_story import HOSPITALS, RUN, Story, digest, whole_story

from audit.checkpoint import WitnessPolicy
from audit.entry import Entry
from audit.errors import EvidenceError
from audit.findings import Fault, Findings
from audit.governance import body_digest
from audit.merkle import leaf_hash, root_of
from audit.tiles import TileName, encode_bundle
from audit.trust import Trust
from audit.verify import verify_log
from protocol import events
from protocol.ballot import Choice, Rule
from protocol.round import Evaluation


class MemoryLog:
    """A story's log, read from memory; its tiles are cut by another path than the verifier's."""

    def __init__(self, story: Story) -> None:
        self._entries = story.entries
        self.checkpoint_note = story.note()

    def read(self, name: TileName) -> bytes | None:
        first = name.index * 256
        if name.level is None:
            return encode_bundle(self._entries[first : first + name.width])
        span = 256**name.level
        leaves = [leaf_hash(entry) for entry in self._entries]
        starts = range(first * span, (first + name.width) * span, span)
        return b"".join(root_of(leaves[start : start + span]) for start in starts)


def findings_of(story: Story) -> Findings:
    trust = Trust.parse(story.consortium_bytes)
    return verify_log(MemoryLog(story), trust.log, trust)


def assert_only(story: Story, fault: Fault, text: str) -> None:
    """The verifier finds this fault, and nothing of another kind."""
    findings = findings_of(story)
    assert text in "\n".join(map(str, findings.faults))
    assert {finding.fault for finding in findings.faults} == {fault}
    assert all(finding.index is not None for finding in findings.faults)


def approved(story: Story | None = None) -> Story:
    """A story with its plan proposed and approved by all."""
    story = story or Story()
    story.found()
    for site in HOSPITALS:
        story.vote(site)
    return story


def test_an_honest_run_has_no_findings() -> None:
    findings = findings_of(whole_story())
    assert findings.faults == ()
    assert findings.remarks == ()
    assert [(r.number, r.outcome, r.excluded) for r in findings.summary.rounds] == [
        (1, "closed", ()),
        (2, "closed", ("south",)),
    ]
    assert {a.site: a.charges for a in findings.summary.accounts} == {
        "east": 2,
        "north": 2,
        "south": 1,
    }


def test_an_abandoned_round_is_no_fault_and_can_be_followed_by_the_next() -> None:
    story = approved()
    story.open(1)
    story.send("east", 1, story.charge("east", 1))
    closing = story.closing(1, ("east",)).model_copy(update={"aggregate_digest": None})
    story.write("centre", events.round_abandoned(closing))
    second = story.opening(2).model_copy(update={"model_digest": digest("model 0")})
    story.write("centre", events.round_opened(second))
    findings = findings_of(story)
    assert findings.faults == ()
    assert [r.outcome for r in findings.summary.rounds] == ["abandoned", "open"]


def test_an_update_that_reaches_the_log_after_the_closing_is_found() -> None:
    story = approved()
    story.open(1)
    charges = {site: story.charge(site, 1) for site in HOSPITALS}
    story.close(1)
    for site, charge in charges.items():
        story.send(site, 1, charge)
    assert findings_of(story).faults == ()


# privacy: no release without its charge, no charge below its cost


def test_an_update_without_its_charge_is_found() -> None:
    story = approved()
    story.open(1)
    story.send("east", 1, digest("no such charge"))
    assert_only(story, Fault.PRIVACY, "names a charge that did not come before it")


def test_an_update_before_its_charge_is_found() -> None:
    ahead = approved()
    ahead.open(1)
    charge = ahead.charge("east", 1)
    story = approved()
    story.open(1)
    story.send("east", 1, charge)
    assert story.charge("east", 1) == charge
    assert_only(story, Fault.PRIVACY, "names a charge that did not come before it")


def test_another_hospitals_charge_pays_for_nothing() -> None:
    story = approved()
    story.open(1)
    story.send("east", 1, story.charge("north", 1))
    assert_only(story, Fault.PRIVACY, "names a charge that did not come before it")


def test_a_charge_of_another_round_pays_for_nothing() -> None:
    story = approved()
    story.run_round(1)
    story.open(2)
    story.send("east", 2, _charge_digests(story, "east")[0])
    assert "made for something else" in str(findings_of(story).faults)


def test_one_charge_pays_for_one_update_only() -> None:
    story = approved()
    story.open(1)
    charge = story.charge("east", 1)
    story.send("east", 1, charge)
    story.send("east", 1, charge)
    assert findings_of(story).faults == ()
    story.send("east", 1, charge, word="another update")
    assert_only(story, Fault.PRIVACY, "names a charge that paid for another release")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda body: body.update(epsilon="1.8"), "its charges so far come to 1.84"),
        (lambda body: body.update(epsilon="0"), "its charges so far come to 1.84"),
        (lambda body: body.update(budget="1.5"), "beyond its budget"),
        (lambda body: body.update(delta="0.000001"), "its charges so far come to 2.12"),
        (lambda body: body["mechanism"].update(steps=5), "less than plan and ballot"),
        (lambda body: body["mechanism"].update(sample_rate="0.1"), "less than plan and ballot"),
        (lambda body: body["mechanism"].update(noise_multiplier="3"), "less than plan and ballot"),
    ],
)
def test_a_charge_below_its_cost_is_found(change: Callable[[dict], None], text: str) -> None:
    story = approved()
    story.open(1)
    story.send("east", 1, story.charge("east", 1, change=change))
    assert_only(story, Fault.PRIVACY, text)


def test_a_charge_that_forgets_the_rounds_before_is_found() -> None:
    """Five rounds each reporting their own ε: the field's standard bug."""
    story = approved()
    story.run_round(1)
    story.open(2)
    one_round = story.charge("south", 2, change=lambda body: body.update(epsilon="1.84163"))
    story.send("south", 2, one_round)
    assert_only(story, Fault.PRIVACY, "its charges so far come to 2.4872")


def test_a_charge_a_little_above_its_cost_is_no_fault() -> None:
    story = approved()
    story.open(1)
    change = lambda body: body.update(epsilon="1.9")  # noqa: E731 - one use
    story.send("east", 1, story.charge("east", 1, change=change))
    assert findings_of(story).faults == ()


def test_a_mechanism_that_cannot_be_recomputed_is_found() -> None:
    story = approved()
    story.charge("east", 1, change=lambda body: body["mechanism"].update(noise_multiplier="0"))
    assert_only(story, Fault.PRIVACY, "is not of its kind (ValueError")


def test_a_charge_of_a_site_that_did_not_vote_is_found() -> None:
    story = Story()
    story.found()
    story.charge("east", 1)
    assert_only(story, Fault.PRIVACY, "for a plan it had not voted on")


def test_a_charge_signed_by_another_is_found() -> None:
    story = approved()
    story.charge("east", 1)
    entry_of_east = story.entries.pop()
    story.write("north", _repeat(entry_of_east))
    assert_only(story, Fault.PRIVACY, "a charge of 'east' signed by demo/north")


def test_an_evaluation_needs_a_charge_of_its_own() -> None:
    story = whole_story()
    training = _charge_digests(story, "east")[0]
    evaluation = Evaluation(
        plan_id=story.plan.id,
        run_id=RUN,
        site="east",
        model_digest=digest("model 2"),
        negative=(1, 2),
        positive=(3, 4),
        noise_multiplier="8",
        charge_digest=training,
    )
    story.write("east", events.evaluation_released(evaluation))
    assert_only(story, Fault.PRIVACY, "names a charge made for something else")
    story = whole_story()
    paid = story.charge(
        "east", 0, change=lambda body: body.update(purpose="evaluation", partition="held-out")
    )
    honest = evaluation.model_copy(update={"charge_digest": paid})
    story.write("east", events.evaluation_released(honest))
    assert findings_of(story).faults == ()


# governance: votes, rounds, participants, candidates


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


@pytest.mark.parametrize("kind", ["plan.voted", "round.opened", "update.sent", "round.closed"])
@pytest.mark.parametrize("body", [{}, {"site": [], "plan_id": {}, "run_id": [], "round": []}])
def test_a_body_that_is_not_of_its_kind_is_found_and_stops_nothing(kind: str, body: dict) -> None:
    story = approved()
    story.write("centre", events.Event(kind, body))
    story.run_round(1)
    findings = findings_of(story)
    assert {finding.index for finding in findings.faults} == {5}
    assert len(findings.summary.rounds) == 1


def test_kinds_the_verifier_does_not_know_are_counted_and_left_alone() -> None:
    story = whole_story()
    story.write("east", events.Event("read.signed", {"anything": 1}))
    findings = findings_of(story)
    assert findings.faults == ()
    assert findings.summary.events == 21


def test_a_consortium_whose_members_share_a_key_is_not_trusted() -> None:

    story = Story()
    members = list(story.consortium.members)
    members[2] = members[2].model_copy(update={"witness_vkey": members[1].witness_vkey})
    story.consortium = story.consortium.model_copy(update={"members": tuple(members)})
    with pytest.raises(EvidenceError, match="share a witness key"):
        Trust.parse(story.consortium_bytes)


def test_the_trust_of_a_consortium_file_is_what_the_protocol_record_says() -> None:
    story = Story()
    trust = Trust.parse(story.consortium_bytes)
    assert set(trust.members.values()) == {member.name for member in story.consortium.members}
    assert trust.roles == {m.name: str(m.role) for m in story.consortium.members}
    assert isinstance(trust.witnesses, WitnessPolicy)
    assert (trust.rule.approvals, trust.rule.refusals_allowed) == (2, 1)
    assert trust.witnesses.quorum == 2


def _charge_digests(story: Story, site: str) -> list[str]:

    entries = [Entry.parse(content) for content in story.entries]
    return [
        body_digest(entry.body)
        for entry in entries
        if entry.type == "privacy.charged" and entry.body["site"] == site
    ]


def _repeat(content: bytes) -> events.Event:

    entry = Entry.parse(content)
    return events.Event(entry.type, entry.body, entry.plan_id, entry.run_id, entry.round)
