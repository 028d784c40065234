"""The reading room's rules: claims, drafts, signatures, adjudication, sessions, the record."""

import json
import re

import psycopg
import pytest
from review_room import PASSWORD, SECRETS, SESSION, Room, Visitor

from hospital_node.review.roles import Role


def test_two_readers_cannot_hold_one_case(room: Room, ann: Visitor, ben: Visitor) -> None:
    number = room.numbers()[0]
    ann.open(number)
    assert ben.post(f"/cases/{number}/claim").status_code == 409
    assert ben.get(f"/cases/{number}").status_code == 409
    assert "held by a colleague" in ben.get("/worklist").text
    assert "wanda" not in ben.get("/worklist").text


def test_a_claim_expires_and_work_moves_it_on(room: Room, ann: Visitor, ben: Visitor) -> None:
    number = room.numbers()[0]
    ann.open(number)
    for _ in range(6):
        room.later(14)
        assert ann.post(f"/cases/{number}/draft", finding="nodule").status_code == 200
    assert room.visitor("boris").post(f"/cases/{number}/claim").status_code == 409
    room.later(61)
    taken = room.visitor("boris")
    taken.open(number)
    late = room.visitor("wanda")
    assert late.post(f"/cases/{number}/draft", finding="nodule").status_code == 409
    assert late.sign(number).status_code == 409
    assert room.rows("SELECT count(*) FROM review_read") == [(0,)]


def test_next_takes_another_case_for_each(room: Room, ann: Visitor, ben: Visitor) -> None:
    first, second = ann.post("/next").headers["location"], ben.post("/next").headers["location"]
    assert first != second
    assert ann.post("/next").headers["location"] == first


def test_a_draft_outlives_lock_and_session(room: Room, ann: Visitor) -> None:
    number = room.numbers()[0]
    ann.open(number)
    ann.post(f"/cases/{number}/draft", finding="nodule", confidence="3", comment="left apex")
    room.later(16)
    assert ann.get(f"/cases/{number}").headers["location"] == "/locked"
    locked = ann.get("/locked").text
    token = re.search(r'name="form_token" value="([^"]+)"', locked)[1]
    wrong = ann.send("/unlock", {"form_token": token, "password": "not the one, sorry"})
    assert wrong.status_code == 403
    right = ann.send("/unlock", {"form_token": token, "password": PASSWORD})
    assert right.headers["location"] == f"/cases/{number}"
    assert "left apex" in ann.get(f"/cases/{number}").text
    ann.post("/sign-out")
    assert ann.get("/worklist").headers["location"] == "/sign-in"
    again = room.visitor("wanda")
    assert "left apex" in again.open(number).text


def test_a_database_that_restarts_is_told_plainly_and_loses_nothing(
    room: Room, ann: Visitor
) -> None:
    number = room.numbers()[0]
    ann.open(number)
    said = {"form_token": ann.form_token, "finding": "nodule", "confidence": "3"}
    with psycopg.connect(room.settings.database.dsn, autocommit=True) as connection:
        connection.execute(
            """
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()
            """
        )
    answers = [ann.send(f"/cases/{number}/draft", said) for _ in range(20)]
    told = [answer for answer in answers if answer.status_code != 200]
    assert told
    assert {answer.status_code for answer in told} == {503}
    assert all("nothing was changed" in answer.text for answer in told)
    assert answers[-1].status_code == 200
    assert room.rows("SELECT finding FROM review_draft") == [(["nodule"],)]


def test_a_wrong_password_signs_nothing_and_loses_nothing(room: Room, ann: Visitor) -> None:
    number = room.numbers()[0]
    ann.open(number)
    page = ann.sign(number, comment="left apex", password="not the one, sorry")
    assert page.status_code == 403
    assert "left apex" in page.text
    assert room.rows("SELECT count(*) FROM review_read") == [(0,)]


@pytest.mark.parametrize(
    "fields",
    [{"confidence": ""}, {"confidence": "6"}, {"finding": "fracture"}, {"finding": ""}],
)
def test_a_read_that_is_not_whole_is_not_signed(room: Room, ann: Visitor, fields: dict) -> None:
    number = room.numbers()[0]
    ann.open(number)
    assert ann.sign(number, **fields).status_code == 422
    assert room.rows("SELECT count(*) FROM review_read") == [(0,)]


def test_a_signed_read_stands_and_is_amended_with_a_reason(room: Room, ann: Visitor) -> None:
    number = room.numbers()[0]
    ann.open(number)
    assert ann.sign(number, "nodule").status_code == 303
    with psycopg.connect(room.settings.database.dsn) as connection:
        for change in ("UPDATE review_read SET comment = ''", "DELETE FROM review_read"):
            with pytest.raises(psycopg.errors.RaiseException, match="stands"):
                connection.execute(change)
            connection.rollback()
    assert ann.sign(number, "not nodule").status_code == 422
    assert ann.sign(number, "not nodule", reason="second look").status_code == 303
    rows = room.rows("SELECT version, finding, reason FROM review_read ORDER BY version")
    assert rows == [(1, ["nodule"], ""), (2, ["not nodule"], "second look")]
    signed = [entry for entry in room.entries() if entry["type"].startswith("read.")]
    assert [entry["type"] for entry in signed] == ["read.signed", "read.amended"]
    assert signed[0]["compliance"]["meaning"] == "authored"
    assert signed[0]["body"]["read"] != signed[1]["body"]["read"]


def test_readers_are_blind_to_one_another_until_one_adjudicates(
    room: Room, ann: Visitor, ben: Visitor
) -> None:
    number = room.numbers()[0]
    eve = room.person("eve", Role.ADJUDICATOR)
    ann.open(number)
    ann.sign(number, "nodule", comment="left apex, 8 mm")
    assert number not in eve.get("/worklist").text
    page = ben.open(number).text
    assert "left apex" not in page
    assert "wanda" not in page
    ben.sign(number, "not nodule")
    assert number in eve.get("/worklist").text
    decision = eve.open(number).text
    assert "left apex, 8 mm" in decision
    assert "wanda" not in decision
    assert eve.sign(number, "nodule", confidence="5").status_code == 303
    assert room.rows("SELECT standing FROM review_standing WHERE case_id = %s", number) == [
        ("settled",)
    ]


def test_readers_who_agree_settle_a_case(room: Room, ann: Visitor, ben: Visitor) -> None:
    number = room.numbers()[0]
    for visitor in (ann, ben):
        visitor.open(number)
        visitor.sign(number, "nodule")
    eve = room.person("eve", Role.ADJUDICATOR)
    cat = room.person("cat", Role.READER)
    assert number not in eve.get("/worklist").text
    assert cat.post(f"/cases/{number}/claim").status_code == 404


def test_agreement_is_of_first_versions_and_looking_is_on_record(
    room: Room, ann: Visitor, ben: Visitor
) -> None:
    for number, (first, second) in zip(
        room.numbers(), (("nodule", "nodule"), ("nodule", "not nodule")), strict=False
    ):
        for visitor, finding in ((ann, first), (ben, second)):
            visitor.open(number)
            visitor.sign(number, finding)
    ben.sign(room.numbers()[1], "nodule", reason="talked to a colleague")
    quality = room.person("quinn", Role.QA)
    page = quality.get("/agreement").text
    assert "1 of 2" in page
    assert "0.00" in page
    assert "wanda" not in page
    assert room.kinds()[-1] == "figures.shown"


def test_a_study_is_on_record_before_its_pixels_are_sent(room: Room, ann: Visitor) -> None:
    number = room.numbers()[0]
    ann.post(f"/cases/{number}/claim")
    assert ann.get(f"/cases/{number}/pictures/0/0/0").status_code == 404
    assert "study.opened" not in room.kinds()
    ann.get(f"/cases/{number}")
    assert room.kinds()[-1] == "study.opened"
    assert ann.get(f"/cases/{number}/pictures/0/0/0").status_code == 200
    other = room.visitor("wanda")
    assert other.get(f"/cases/{number}/pictures/0/0/0").status_code == 404


def test_no_pixel_is_sent_after_a_case_was_given_back(room: Room, ann: Visitor) -> None:
    number = room.numbers()[0]
    ann.open(number)
    assert ann.post(f"/cases/{number}/return").status_code == 303
    assert ann.get(f"/cases/{number}/pictures/0/0/0").status_code == 404


def test_guesses_are_counted_and_end(room: Room, ann: Visitor) -> None:
    stranger = Visitor(room.app)
    for _ in range(5):
        assert stranger.sign_in("wanda", "a guess of somebody else").status_code == 403
    assert stranger.sign_in("wanda").status_code == 429
    room.later(16)
    assert stranger.sign_in("wanda").status_code == 303


def test_a_name_that_is_nobodys_is_answered_like_any_other(room: Room) -> None:
    stranger = Visitor(room.app)
    room.person("wanda", Role.READER)
    known = stranger.sign_in("wanda", "a guess of somebody else")
    unknown = stranger.sign_in("zoe", "a guess of somebody else")
    assert (known.status_code, known.text) == (unknown.status_code, unknown.text)


def test_a_closed_account_opens_nothing_at_once(room: Room, ann: Visitor) -> None:
    number = room.numbers()[0]
    ann.open(number)
    ivy = room.person("ivy", Role.IT)
    account = room.rows("SELECT account FROM review_account WHERE login = 'wanda'")[0][0]
    assert ivy.post(f"/people/{account}/close").status_code == 303
    assert ann.get("/worklist").headers["location"] == "/sign-in"
    assert Visitor(room.app).sign_in("wanda").status_code == 403
    assert room.rows("SELECT count(*) FROM review_claim") == [(0,)]


def test_hospital_it_signs_somebody_out(room: Room, ann: Visitor) -> None:
    ivy = room.person("ivy", Role.IT)
    account = room.rows("SELECT account FROM review_account WHERE login = 'wanda'")[0][0]
    assert "wanda" in ivy.get("/people").text
    assert ivy.post(f"/people/{account}/end").status_code == 303
    assert ann.get("/worklist").headers["location"] == "/sign-in"
    assert ivy.post(f"/people/{account}/end").status_code == 404


def test_a_withdrawn_patients_case_is_gone(room: Room, ann: Visitor) -> None:
    number = room.numbers()[0]
    ann.open(number)
    with room.room.pool.connection() as connection:
        connection.execute(
            """
            INSERT INTO imaging_withdrawal
            SELECT DISTINCT pseudonym, 'subject-request', 1 FROM imaging_instance
            WHERE study = (SELECT study FROM review_case WHERE case_id = %s)
            """,
            (number,),
        )
    assert ann.get(f"/cases/{number}/pictures/0/0/0").status_code == 404
    assert ann.sign(number).status_code == 404
    assert number not in ann.get("/worklist").text


def test_nothing_that_is_sent_or_recorded_names_anybody(room: Room, ann: Visitor) -> None:
    said = []
    for number in room.numbers():
        said.append(ann.open(number).text)
        said.append(ann.get(f"/cases/{number}/pictures").text)
        said.append(str(dict(ann.get(f"/cases/{number}/pictures/0/0/0").headers)))
        ann.sign(number)
    record = json.dumps(room.entries())
    for secret in (*SECRETS, "1.2.826", "wanda"):
        assert secret not in record, secret
    for secret in SECRETS:
        assert all(secret not in text for text in said), secret


def test_a_form_from_elsewhere_does_nothing(room: Room, ann: Visitor) -> None:
    token = ann.form_token
    for fields, origin in (
        ({"form_token": token}, "https://elsewhere.test"),
        ({"form_token": token}, None),
        ({"form_token": "x" * 43}, "https://room.test"),
        ({}, "https://room.test"),
    ):
        assert ann.send("/next", fields, origin=origin).status_code == 403
    assert room.rows("SELECT count(*) FROM review_claim") == [(0,)]


def test_the_cookie_is_for_this_host_over_tls_and_no_script(room: Room, ann: Visitor) -> None:
    visitor = Visitor(room.app)
    cookie = visitor.sign_in("wanda").headers["set-cookie"]
    assert cookie.startswith(SESSION)
    assert {"Secure", "HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    stored = room.rows("SELECT token_digest FROM review_session")
    token = visitor.client.cookies[SESSION]
    assert token.encode() not in b"".join(bytes(digest) for (digest,) in stored)
