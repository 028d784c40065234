"""What the events claim, checked: each test changes one thing about an honest run."""

from collections.abc import Callable

import pytest
from audit_story import (
    HOSPITALS,
    NOISE,
    RUN,
    Story,
    approved,
    assert_only,
    digest,
    findings_of,
    whole_story,
)

from audit.checkpoint import WitnessPolicy
from audit.entry import Entry
from audit.errors import EvidenceError
from audit.trust import Trust
from audit.verifying.findings import Fault
from audit.verifying.governance import body_digest
from protocol import events
from protocol.budget import Partition
from protocol.membership import Membership
from protocol.record import decimal_text
from protocol.round import Evaluation


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
    honest = evaluation.model_copy(
        update={"charge_digest": paid, "noise_multiplier": decimal_text(NOISE)}
    )
    story.write("east", events.evaluation_released(honest))
    assert findings_of(story).faults == ()
    quiet = honest.model_copy(update={"noise_multiplier": "8"})
    other = whole_story()
    assert other.charge(
        "east", 0, change=lambda body: body.update(purpose="evaluation", partition="held-out")
    )
    other.write("east", events.evaluation_released(quiet))
    assert_only(other, Fault.PRIVACY, "has other noise than its charge names")


def test_what_is_told_of_training_patients_is_paid_from_their_account() -> None:
    for partition in Partition:
        story = whole_story()
        paid = story.charge(
            "east",
            0,
            change=lambda body, whose=partition: body.update(purpose="membership", partition=whose),
        )
        told = Membership(
            plan_id=story.plan.id,
            run_id=RUN,
            site="east",
            model_digest=digest("model 2"),
            negative=(1, 2),
            positive=(3, 4),
            noise_multiplier=decimal_text(NOISE),
            charge_digest=paid,
        )
        story.write("east", events.membership_released(told))
        if partition is Partition.TRAIN:
            assert findings_of(story).faults == ()
        else:
            assert_only(story, Fault.PRIVACY, "names a charge made for something else")


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
    story.write("east", events.Event("weather.noted", {"anything": 1}))
    findings = findings_of(story)
    assert findings.faults == ()
    assert findings.summary.events == 21


def test_a_consortium_whose_members_share_a_key_is_not_trusted() -> None:

    story = Story()
    members = list(story.consortium.members)
    members[-1] = members[-1].model_copy(update={"witness_vkey": members[-2].witness_vkey})
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
