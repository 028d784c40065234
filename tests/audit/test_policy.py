"""Trust policies: the format of C2SP tlog-policy, and our own rule written in it."""

import itertools
from contextlib import suppress

import pytest
from audit_parties import HOSPITALS, Consortium, now_us
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.checkpoint import (
    Checkpoint,
    WitnessKey,
    WitnessPolicy,
    add_cosignatures,
    cosign,
    sign_checkpoint,
)
from audit.errors import AuditError, NoteError, PolicyError, QuorumError, UnmetPolicyError
from audit.policy import Group, Policy, write_policy

NORTH = Consortium(quorum=2)
LOG = NORTH.log.vkey
A, B, C = (NORTH.witnesses[name].vkey for name in HOSPITALS)


def note(*cosigners: str, consortium: Consortium = NORTH) -> str:
    text = sign_checkpoint(Checkpoint(consortium.log.name, 4, bytes(32)), consortium.log)
    lines = [cosign(text, consortium.witnesses[name], now_us() // 1_000_000) for name in cosigners]
    return add_cosignatures(text, lines)


def policy(text: str) -> Policy:
    return Policy.parse(text.encode())


THREE = f"witness a {A}\nwitness b {B}\nwitness c {C}\n"


def test_a_policy_of_two_levels_of_groups_is_met_as_the_specification_says() -> None:
    nested = policy(
        f"log {LOG}\n{THREE}group X 2 a b\n\tgroup  both\tall X c \n# a comment\n\nquorum both\n"
    )
    assert nested.groups == {"X": Group(2, ("a", "b")), "both": Group(2, ("X", "c"))}
    nested.check(note("anna", "berg", "cura"))
    for cosigners in ((), ("anna",), ("anna", "berg"), ("anna", "cura")):
        with pytest.raises(UnmetPolicyError):
            nested.check(note(*cosigners))


@pytest.mark.parametrize(("rule", "enough"), [("any", 1), ("all", 3), ("1", 1), ("2", 2), ("3", 3)])
def test_a_group_needs_as_many_as_it_says(rule: str, enough: int) -> None:
    one = policy(f"{THREE}group g {rule} a b c\nquorum g\n")
    for count in range(4):
        text = note(*HOSPITALS[:count])
        if count >= enough:
            assert len(one.check(text)) == count
        else:
            with pytest.raises(UnmetPolicyError):
                one.check(text)


def test_a_single_witness_can_be_the_quorum_and_none_needs_nobody() -> None:
    one = policy(f"witness a {A}\nquorum a\n")
    one.check(note("anna"))
    with pytest.raises(UnmetPolicyError, match="nobody"):
        one.check(note("berg"))
    policy("quorum none\n").check(note())


def test_a_wrong_cosignature_of_a_known_witness_spoils_the_note() -> None:
    text = note("anna").replace("\n4\n", "\n5\n")
    with pytest.raises(NoteError):
        policy(f"witness a {A}\nquorum none\n").check(text)


def test_the_log_is_found_by_its_origin() -> None:
    other = Consortium()
    both = policy(f"log {LOG} https://log.example\nquorum none\n")
    assert both.log_of(note()) == NORTH.log.verifier
    elsewhere = sign_checkpoint(Checkpoint("else/log", 1, bytes(32)), other.log)
    with pytest.raises(PolicyError, match="else/log"):
        both.log_of(elsewhere)


def test_of_two_keys_of_one_origin_the_one_that_signed_is_found() -> None:
    other = Consortium()
    both = policy(f"log {LOG}\nlog {other.log.vkey}\nquorum none\n")
    assert both.log_of(note(consortium=other)) == other.log.verifier
    assert both.log_of(note()) == NORTH.log.verifier


def test_names_are_opaque_bytes() -> None:
    kelvin = b"witness K " + A.encode() + b"\nwitness \xe2\x84\xaa " + B.encode()
    raw = b"\nwitness \xff " + C.encode() + b"\n# \xfe\ngroup \xc3\x28 any \xff\nquorum \xc3\x28\n"
    odd = Policy.parse(kelvin + raw)
    assert len(odd.witnesses) == 3
    odd.check(note("cura"))
    with pytest.raises(UnmetPolicyError):
        odd.check(note("anna", "berg"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no line 'quorum"),
        (f"witness a {A}\n", "no line 'quorum"),
        ("quorum none", "line 1: cut short"),
        ("quorum none\nquorum none\n", "line 2: a second quorum"),
        ("quorum a\n", "'a' is not defined"),
        ("quorum\n", "expected 'quorum NAME'"),
        ("quorums none\n", "begins no line"),
        (f"quorum a\nwitness a {A}\n", "line 1: 'a' is not defined"),
        (f"log {A}\nquorum none\n", "expected 1, a log's"),
        (f"witness a {LOG}\nquorum none\n", "expected 4, a witness's"),
        (f"log {LOG}\nlog {LOG}\nquorum none\n", "line 2: the key of log"),
        (f"witness a {A}\nwitness b {A}\nquorum none\n", "line 2: the key of witness"),
        (f"witness a {A}\nwitness a {B}\nquorum none\n", "line 2: 'a' is taken"),
        (f"witness none {A}\nquorum none\n", "'none' is taken"),
        (f"{THREE}group a any b\nquorum none\n", "'a' is taken"),
        (f"{THREE}group g any a a\nquorum g\n", "names a member twice"),
        (f"{THREE}group g any\nquorum g\n", "expected 'group NAME"),
        (f"{THREE}group g 4 a b c\nquorum g\n", "4 of 3 members"),
        (f"{THREE}group g 0 a\nquorum g\n", "expected all, any or a number"),
        (f"{THREE}group g 01 a\nquorum g\n", "expected all, any or a number"),
        (f"{THREE}group g any g\nquorum g\n", "'g' is not defined"),
        (f"{THREE}group g any none\nquorum g\n", "'none' is not defined"),
        (f"{THREE}group g any h\ngroup h any a\nquorum g\n", "line 4: 'h' is not defined"),
        ("log\nquorum none\n", "expected 'log VKEY"),
        (f"log {LOG} u v\nquorum none\n", "expected 'log VKEY"),
        (f"witness {A}\nquorum none\n", "expected 'witness NAME"),
        (f"log {LOG[:-8]}\nquorum none\n", "line 1: "),
        ("quorum none\r\n", "control character"),
        ("#" + "x" * 2**20 + "\nquorum none\n", "at most"),
    ],
    ids=itertools.count(1),  # the keys in the texts are others each time
)
def test_what_is_no_policy_is_refused_with_its_line(text: str, reason: str) -> None:
    with pytest.raises(PolicyError, match=reason):
        policy(text)


@given(st.binary(max_size=300))
def test_bytes_are_a_policy_or_are_refused(content: bytes) -> None:
    with suppress(PolicyError):
        Policy.parse(content)


ORGANISATIONS = ("St Anna, Vienna", "Berg", "Berg", "Cura\nquorum none", "Cura\nquorum none", "Ö")


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(0, 5)), st.integers(0, 4))
def test_our_own_rule_written_as_a_policy_is_the_same_rule(cosigners: set[int], k: int) -> None:
    """Six witnesses of four organisations: the policy counts organisations as `check` does."""
    keys = [Consortium().witnesses["anna"] for _ in ORGANISATIONS]
    ours = WitnessPolicy(
        tuple(
            WitnessKey.from_vkey(organisation, key.vkey)
            for organisation, key in zip(ORGANISATIONS, keys, strict=True)
        ),
        k,
    )
    written = Policy.parse(write_policy(NORTH.log.verifier, ours))
    assert written.logs == (NORTH.log.verifier,)
    text = add_cosignatures(note(), [cosign(note(), keys[number], 1) for number in cosigners])
    assert judged(written, text) == judged(ours, text)


def judged(rule: Policy | WitnessPolicy, text: str) -> bool:
    try:
        rule.check(text)
    except (QuorumError, UnmetPolicyError):
        return False
    return True


def test_a_policy_without_quorum_is_written_as_none() -> None:
    text = write_policy(NORTH.log.verifier, WitnessPolicy(NORTH.policy.witnesses, 0))
    assert text.endswith(b"quorum none\n")


def test_a_quorum_bears_liars_only_where_two_of_it_must_share_an_honest_one() -> None:
    """2k - n > f, with the sheet's own example n = 5, f = 1, k = 4."""
    for n in range(1, 8):
        for k in range(n + 1):
            keys = tuple(WitnessKey(f"org {i}", NORTH.log.verifier) for i in range(n))
            borne = WitnessPolicy(keys, k).liars_borne
            assert (borne >= 1) == (2 * k - n > 1)
            assert (borne >= 0) == (2 * k - n > 0)
    five = tuple(WitnessKey(f"org {i}", NORTH.log.verifier) for i in range(5))
    assert [WitnessPolicy(five, k).liars_borne >= 1 for k in (3, 4)] == [False, True]


def test_a_quorum_that_one_liar_can_split_is_said_where_a_higher_one_would_not_be() -> None:
    for n in range(1, 8):
        keys = tuple(WitnessKey(f"org {i}", NORTH.log.verifier) for i in range(n))
        strong = [k for k in range(n + 1) if 2 * k - n > 1]
        for k in range(n + 1):
            weakness = WitnessPolicy(keys, k).weakness
            if k in strong or not strong:
                assert weakness is None
            else:
                assert f"a witness_quorum of {min(strong)} stops that" in weakness


def test_keys_of_one_organisation_bear_no_more_liars() -> None:
    keys = tuple(WitnessKey("one", NORTH.log.verifier) for _ in range(5))
    assert WitnessPolicy(keys, 1).liars_borne == 0


def test_every_refusal_is_of_this_package() -> None:
    assert issubclass(UnmetPolicyError, PolicyError)
    assert issubclass(PolicyError, AuditError)
