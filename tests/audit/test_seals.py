"""What an auditor asked stands on the record sealed: they can show it, and nobody can guess it."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_story import whole_story
from desk_parties import Opened, opened_desk
from hypothesis import given
from hypothesis import strategies as st

from audit.commitment import commit, spell
from audit.desk.callers import Role
from audit.desk.seals import Seal, spell_parameters
from audit.desk.service import secret_key
from audit.settings import SettingsError

NAME = "Anna Schmidt 1948"


@pytest.fixture
def opened(dsn: str, tmp_path: Path) -> Iterator[Opened]:
    with opened_desk(dsn, whole_story(), tmp_path) as desk:
        yield desk


def said(opened: Opened) -> list[dict]:
    opened.settle()
    return [one["entry"]["body"] for one in opened.get("/v1/events", type="audit.query")["entries"]]


def test_who_asked_can_show_what_it_was(opened: Opened) -> None:
    answer = opened.client.get("/v1/events", params={"run_id": NAME})
    salt = bytes.fromhex(answer.headers["wardround-salt"])
    (body,) = said(opened)
    assert body["parameters"] == spell(commit(salt, spell_parameters({}, [("run_id", NAME)])))
    assert body["parameters"] != spell(commit(salt, spell_parameters({}, [("run_id", "other")])))


def test_nobody_finds_out_by_asking_the_same(opened: Opened) -> None:
    for client in (opened.client, opened.client_as(Role.AUDITOR)):
        assert client.get("/v1/events", params={"run_id": NAME}).status_code == 200
    theirs, mine = said(opened)
    assert theirs["parameters"] != mine["parameters"]


def test_who_is_turned_away_is_told_no_salt(opened: Opened) -> None:
    assert "wardround-salt" not in opened.client_with(None).get("/v1/events").headers


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32), st.binary())
def test_a_seal_is_found_again_from_its_number_and_the_desks_key_alone(
    key: bytes, other: bytes, content: bytes
) -> None:
    seal = Seal.draw(key, lambda size: b"n" * size)
    assert Seal.named(key, seal.nonce).close(content) == seal.close(content)
    assert (Seal.named(other, seal.nonce) == seal) == (other == key)
    assert seal.salt.hex() not in repr(seal)


def test_the_key_of_seals_is_made_once_for_its_owner_and_must_stay_whole(tmp_path: Path) -> None:
    key = secret_key(tmp_path / "state", "seal")
    path = tmp_path / "state" / "seal.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert secret_key(tmp_path / "state", "seal") == key
    path.write_bytes(key[:31])
    with pytest.raises(SettingsError, match="31 bytes, expected 32"):
        secret_key(tmp_path / "state", "seal")
