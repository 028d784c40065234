from math import exp

import pytest

from protocol.membership import Membership, advantage_bound
from protocol.record import sha256_text

D = sha256_text(b"a digest")


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0, 3.0, 8.0])
@pytest.mark.parametrize("delta", [0.0, 1e-5, 0.01])
def test_no_attack_does_better_than_on_an_answer_that_is_given_away_or_flipped(
    epsilon: float, delta: float
) -> None:
    # With δ the truth is given away, otherwise told rightly with e^ε/(1 + e^ε): both bounds hold.
    right = exp(epsilon) / (1 + exp(epsilon))
    advantage = delta + (1 - delta) * (2 * right - 1)
    assert advantage_bound(epsilon, delta) == pytest.approx(advantage, abs=1e-12)
    assert advantage_bound(epsilon, delta) == pytest.approx(
        (exp(epsilon) - 1 + 2 * delta) / (exp(epsilon) + 1), abs=1e-12
    )


def test_without_privacy_an_attack_may_know_everybody() -> None:
    assert advantage_bound(1e9, 1e-5) == pytest.approx(1.0)
    assert advantage_bound(0.0, 0.0) == 0.0


def test_findings_are_left_out_of_the_bytes_where_there_is_one() -> None:
    fields = {
        "plan_id": D,
        "run_id": "0199f2a3-5b6c-7d8e-9f01-23456789abcd",
        "site": "amber",
        "model_digest": D,
        "negative": (1, 2),
        "positive": (3, 4),
        "noise_multiplier": "10",
        "charge_digest": D,
    }
    one = Membership(**fields)
    assert b"classes" not in one.to_bytes()
    several = Membership(**fields, classes=("effusion", "oedema"))
    assert Membership.from_bytes(several.to_bytes()) == several
    assert Membership.from_bytes(one.to_bytes()) == one
