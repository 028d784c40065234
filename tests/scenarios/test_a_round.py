"""A whole round, told as a story: proposed, voted, opened, charged, trained, summed, judged."""

import numpy as np
import pytest
from federation import HOSPITALS, Federation

from audit.entry import Entry
from hospital_node import participation, views
from hospital_node.training.accountant import epsilon
from protocol.budget import Partition, account_of
from protocol.catalogue import initial_state
from protocol.plan import Plan
from protocol.round import OrderKind, RoundState, Verdict
from protocol.update import packed_digest
from services.coordinator import store
from services.coordinator.replay import replay
from services.coordinator.runs import load_run

pytestmark = pytest.mark.scenario


def of_run(people: Federation, run_id: str, kind: str) -> list[tuple[int, Entry]]:
    """Index and entry of one kind, of one run."""
    return [
        (index, entry)
        for index, entry in enumerate(people.entries())
        if entry.run_id == run_id and entry.type == kind
    ]


def test_every_round_closes_with_every_hospital(people: Federation, first_run: str) -> None:
    rounds = people.rounds(first_run)
    assert [one.state for one in rounds] == [RoundState.CLOSED] * 2
    for one in rounds:
        assert one.closing is not None
        assert sorted(one.closing.participants) == sorted(HOSPITALS)
        assert one.closing.exclusions == ()


def test_the_run_completes_and_says_so(people: Federation, first_run: str) -> None:
    with people.centre.pool.connection() as connection:
        run = store.load_run(connection, first_run)
        evaluations = store.load_evaluations(connection, first_run)
    assert (run.state, run.explanation) == ("completed", "")
    assert [(one.site, one.reason, one.released) for one in evaluations] == [
        (name, "none", True) for name in HOSPITALS
    ]


def test_the_log_verifies_from_outside(people: Federation, first_run: str) -> None:
    findings = people.verify()
    assert findings.is_verified, [str(fault) for fault in findings.faults]
    assert findings.summary is not None
    assert len(findings.summary.organisations) >= 2


def test_no_gradient_without_its_charge(people: Federation, first_run: str) -> None:
    charges = of_run(people, first_run, "privacy.charged")
    updates = of_run(people, first_run, "update.sent")
    assert len(updates) == 2 * len(HOSPITALS)
    for _, update in updates:
        paid = [
            charge
            for _, charge in charges
            if charge.producer == update.producer
            and charge.round == update.round
            and charge.body["purpose"] == "training"
        ]
        assert len(paid) == 1
        assert paid[0].seq < update.seq


def test_no_hospital_works_before_the_opening_is_in_the_log(
    people: Federation, first_run: str
) -> None:
    opened = {entry.round: index for index, entry in of_run(people, first_run, "round.opened")}
    for index, charge in of_run(people, first_run, "privacy.charged"):
        if charge.body["purpose"] == "training":
            assert opened[charge.round] < index


def test_anybody_with_the_kept_updates_gets_the_same_model_bit_for_bit(
    people: Federation, plans: tuple[Plan, Plan, Plan], first_run: str
) -> None:
    model = initial_state(plans[0].network)
    for one in people.rounds(first_run):
        with people.centre.pool.connection() as connection:
            rows = connection.execute(
                "SELECT packed FROM updates WHERE run_id = %s AND number = %s ORDER BY place",
                (first_run, one.number),
            ).fetchall()
        arrays = [np.frombuffer(packed, "<f4").astype(np.float64) for (packed,) in rows]
        model = (model + sum(arrays) / len(arrays)).astype("<f4")
        assert one.closing is not None
        assert packed_digest(model) == one.closing.aggregate_digest


def flip_a_bit(people: Federation, run_id: str) -> None:
    with people.centre.pool.connection() as connection:
        connection.execute(
            """
            UPDATE updates SET packed = set_byte(packed, 5, 1 # get_byte(packed, 5))
            WHERE run_id = %s AND number = 2 AND place = 0
            """,
            (run_id,),
        )


def test_a_replay_holds_round_by_round_and_names_the_round_that_does_not(
    people: Federation, first_run: str
) -> None:
    run = load_run(people.centre, first_run)
    assert [(one.number, one.fault) for one in replay(people.centre, run)] == [(1, ""), (2, "")]
    flip_a_bit(people, first_run)
    try:
        first, second = replay(people.centre, run)
    finally:
        flip_a_bit(people, first_run)
    assert first.fault == ""
    assert "is damaged in the database" in second.fault


def test_the_cost_of_the_run_stays_below_what_was_voted(
    people: Federation, plans: tuple[Plan, Plan, Plan], first_run: str
) -> None:
    for site in people.sites.values():
        with site.pool.connection() as connection:
            charges = site.ledger.charges(connection, account_of(site.name), Partition.TRAIN)
        mine = [charge.mechanism for charge in charges if charge.plan_id == plans[0].id]
        assert 2.9 < epsilon(mine, 1e-5) <= 3.0


def test_an_order_sent_again_gets_the_same_answer_and_costs_nothing(
    people: Federation, plans: tuple[Plan, Plan, Plan], first_run: str
) -> None:
    site = people.sites["north"]
    before = people.exchange(first_run, "north", OrderKind.TRAIN, 2)
    with site.pool.connection() as connection:
        spent = site.ledger.charges(connection, account_of(site.name), Partition.TRAIN)
    answer, update = participation.answer(site, before.order, before.model)
    with site.pool.connection() as connection:
        after = site.ledger.charges(connection, account_of(site.name), Partition.TRAIN)
    assert answer == before.answer.to_bytes()
    assert before.answer.verdict is Verdict.ACCEPTED
    assert update is not None
    assert before.update is not None
    np.testing.assert_array_equal(update, before.update)
    assert after == spent


def test_no_identifier_and_no_pixel_leaves(people: Federation, first_run: str) -> None:
    said = b"".join(entry.content for entry in people.entries())
    said += b"".join(one.answer.to_bytes() for one in people.exchanges)
    secrets = {b"SYN0", b"Phantom", b".dcm", b"labels.csv"}
    for site in people.sites.values():
        with site.pool.connection() as connection:
            rows = connection.execute("SELECT pseudonym, instance FROM imaging_instance")
            secrets |= {str(value).encode() for row in rows for value in row}
            rows = connection.execute("SELECT salt FROM ballots")
            secrets |= {bytes(row[0]).hex().encode() for row in rows}
    assert len(secrets) > 100
    assert not [secret for secret in secrets if secret in said]
    for one in people.exchanges:
        assert one.update is None or one.update.size == 1281


def test_each_hospital_keeps_a_view_of_its_own(people: Federation, first_run: str) -> None:
    for name, site in people.sites.items():
        report = next(one for one in views.report_view(site) if one["run_id"] == first_run)
        assert report["site"] == name
        assert report["patients_train"] == 18
        assert 0 <= report["auc_global"] <= 1
        assert 0 <= report["auc_local"] <= 1
        assert report["epsilon_charged"] <= 3


def test_spoiled_files_end_in_quarantine_with_a_reason(people: Federation) -> None:
    for rows in people.quarantined.values():
        assert rows
        assert all(row["reason"] and row["explanation"] for row in rows)
