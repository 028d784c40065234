"""The pages beside the API: signing in, what is refused, and that what is shown is there."""

import gzip
import hashlib
import html
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import psycopg
import pytest
from audit_story import HOSPITALS, Story, digest, whole_story
from desk_parties import Opened, new_key, opened_desk
from fastapi.testclient import TestClient
from pages_visitor import ORIGIN, Visitor

from audit.desk.api_keys import revoke_key
from audit.desk.app import create_app
from audit.desk.callers import Role
from audit.desk.pages.rendering import Rendering, visible
from audit.desk.pages.sessions import IDLE_US, LONGEST_US
from audit.desk.recorder import Recorder
from audit.desk.routes import pages
from audit.desk.seals import Seal, spell_parameters
from audit.outbox import Outbox
from protocol.event import Event

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "\u202egnp.exe\u2066\u200b\u0000",
    "{{ 7 * 7 }} {% raw %}",
    "w" * 3000,
)
PAGES = ("/", "/search", "/governance", "/findings", "/looked", "/exports", "/runs/run-1")


class Markup(HTMLParser):
    """The tags of a page, as a browser would find them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    @classmethod
    def of(cls, page: str) -> "Markup":
        markup = cls()
        markup.feed(page)
        return markup

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def checked(self) -> list[str]:
        """Where its links lead, once nothing in it acts by itself or comes from elsewhere."""
        links = []
        for tag, attributes in self.tags:
            assert tag not in {"style", "iframe", "object", "embed", "base"}
            assert tag != "script" or "src" in attributes
            assert not [name for name in attributes if name == "style" or name.startswith("on")]
            for name in {"href", "src", "action"} & set(attributes):
                address = attributes[name] or ""
                assert address.startswith(("/", "#")), address
                assert not address.startswith("//"), address
                links += [address] if name != "action" and address.startswith("/") else []
        return links


@pytest.fixture
def opened(dsn: str, tmp_path: Path) -> Iterator[Opened]:
    with opened_desk(dsn, whole_story(), tmp_path) as desk:
        yield desk


@pytest.fixture
def visitor(opened: Opened) -> Visitor:
    return Visitor.signed_in(opened)


def test_no_page_is_shown_without_a_session(opened):
    stranger = Visitor(opened)
    for route in pages.router.routes:
        path = re.sub(r"\{[^}]+\}", "0", route.path)
        for method in route.methods - {"HEAD"}:
            answer = stranger.client.request(method, path, follow_redirects=False)
            assert answer.status_code in {303, 401, 403}, (method, path)
            assert "run-1" not in answer.text
            if method == "GET" and path != "/sign-in/return":
                assert answer.headers["location"].startswith("/sign-in"), path


def test_who_signs_in_comes_to_the_page_that_was_wanted(opened):
    visitor = Visitor(opened)
    wanted = visitor.get("/runs/run-1?x=1", follow_redirects=False).headers["location"]
    answer = visitor.sign_in(new_key(opened.settings.desk.keys), at=wanted)
    assert answer.headers["location"] == "/runs/run-1?x=1"
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-wardround-session=")
    for part in ("HttpOnly", "Secure", "SameSite=strict", "Path=/"):
        assert part in cookie
    assert "Domain" not in cookie


@pytest.mark.parametrize("wanted", ["//evil.example", "/\\evil.example", "https://evil.example"])
def test_nobody_is_sent_to_another_site_after_signing_in(opened, wanted):
    visitor = Visitor(opened)
    answer = visitor.sign_in(new_key(opened.settings.desk.keys), at=f"/sign-in?next={wanted}")
    assert answer.headers["location"] == "/"


def test_a_wrong_key_is_refused_in_words_that_tell_nothing_and_put_on_record(opened):
    visitor = Visitor(opened)
    shown = "wardround-aaaaaaaa." + "S" * 43
    answer = visitor.sign_in(shown)
    revoked = new_key(opened.settings.desk.keys)
    revoke_key(opened.settings.desk.keys, revoked.partition(".")[0].removeprefix("wardround-"))
    again = visitor.sign_in(revoked)
    assert answer.status_code == again.status_code == 401
    said = re.compile(r'<p class="alert"[^>]*>(.*?)</p>')
    assert said.search(answer.text)[1] == said.search(again.text)[1]
    assert shown not in answer.text
    assert "__Host-wardround-session" not in answer.headers.get("set-cookie", "")
    opened.settle()
    found = opened.get("/v1/events", type="anomaly.access_refused")["entries"]
    assert found[0]["entry"]["body"]["route"] == "POST (none)"
    assert found[0]["entry"]["body"]["reason"] == "bad-credentials"


def test_signing_in_and_every_page_are_entries_that_name_the_person(opened, visitor):
    visitor.page("/governance")
    opened.settle()
    found = opened.get("/v1/events", type="audit.query")["entries"]
    assert [one["entry"]["body"]["route"] for one in found] == ["POST /sign-in", "GET /governance"]
    assert {one["entry"]["actor"]["id"] for one in found} == {visitor.pseudonym}


def test_the_key_reaches_neither_the_record_nor_a_page(opened):
    key = new_key(opened.settings.desk.keys)
    visitor = Visitor(opened)
    visitor.sign_in(key)
    opened.settle()
    asked = opened.get("/v1/events", type="audit.query")["entries"][0]["entry"]["body"]
    seal = Seal.named(opened.desk.seal_key, asked["nonce"])
    assert asked["parameters"] == seal.close(spell_parameters({}, []))
    assert key.partition(".")[2] not in visitor.page("/")


def test_signing_out_ends_the_session_here_and_not_only_in_the_browser(opened, visitor):
    cookie = visitor.cookie
    answer = visitor.post("/sign-out", {})
    assert answer.headers["location"] == "/sign-in"
    assert 'wardround-session=""' in answer.headers["set-cookie"]
    visitor.client.cookies.set("__Host-wardround-session", cookie)
    assert visitor.get("/", follow_redirects=False).status_code == 303


@pytest.mark.parametrize("left", [IDLE_US, LONGEST_US])
def test_a_session_ends_by_itself(opened, left):
    now = [opened.desk.clock_us()]
    opened.desk = replace(opened.desk, clock_us=lambda: now[0])
    visitor = Visitor.signed_in(opened)
    step = IDLE_US - 1
    passed = 0
    while left == LONGEST_US and passed + step < LONGEST_US:
        now[0] += step
        passed += step
        assert visitor.get("/", follow_redirects=False).status_code == 200
    now[0] += IDLE_US if left == IDLE_US else LONGEST_US - passed
    assert visitor.get("/", follow_redirects=False).status_code == 303


def test_a_revoked_key_ends_the_sessions_that_it_began(opened, visitor):
    assert visitor.get("/").status_code == 200
    revoke_key(opened.settings.desk.keys, visitor.pseudonym.removeprefix("key."))
    assert visitor.get("/", follow_redirects=False).status_code == 303


def test_a_form_from_elsewhere_is_refused_and_put_on_record(opened, visitor):
    form = {"format": "ndjson"}
    token = visitor.form_token("/exports")
    refused = [
        visitor.send("/exports", form, origin=ORIGIN),
        visitor.send("/exports", {**form, "form_token": "x" * 43}, origin=ORIGIN),
        visitor.send("/exports", {**form, "form_token": token}, origin="https://evil.example"),
        visitor.send("/exports", {**form, "form_token": token}, origin="http://desk.test"),
        visitor.send("/exports", {**form, "form_token": token}, origin=None),
        visitor.send("/sign-out", {}, origin=ORIGIN),
    ]
    assert [answer.status_code for answer in refused] == [403] * 6
    assert visitor.send("/exports", {**form, "form_token": token}, origin=ORIGIN).status_code == 200
    opened.settle()
    found = opened.get("/v1/events", type="anomaly.access_refused")["entries"]
    assert found[0]["entry"]["body"]["reason"] == "forged-form"
    assert [one["entry"]["type"] for one in found] == ["anomaly.access_refused"]


def test_a_sign_in_form_counts_only_with_what_its_page_gave(opened):
    key = new_key(opened.settings.desk.keys)
    stranger = Visitor(opened)
    answer = stranger.send("/sign-in", {"key": key, "form_token": "x"}, origin=ORIGIN)
    assert answer.status_code == 403
    answer = stranger.sign_in(key, origin="https://evil.example")
    assert answer.status_code == 403


def test_a_session_opens_no_door_of_the_api(opened, visitor):
    assert visitor.get("/v1/whoami").status_code == 401
    assert visitor.get("/fhir/AuditEvent").status_code == 401


def test_every_link_on_every_page_leads_somewhere(opened, visitor):
    officer = Visitor.signed_in(opened, Role.RECORDS_OFFICER)
    for somebody in (visitor, officer):
        seen: dict[str, str] = {}
        queue = ["/"]
        while queue and len(seen) < 150:
            address = queue.pop()
            # Looking writes entries; their pages are all alike.
            if address in seen or re.fullmatch(r"/entries/(2[2-9]|[3-9]\d|\d{3,})(/.*)?", address):
                continue
            answer = somebody.get(address)
            seen[address] = answer.text
            assert answer.status_code == 200, address
            if answer.headers["content-type"].startswith("text/html"):
                assert "script-src 'self'" in answer.headers["content-security-policy"]
                queue += Markup.of(answer.text).checked()
        assert len(seen) > 60
        kinds = {re.sub(r"\d+|sha256:\w+", "*", address.partition("?")[0]) for address in seen}
        assert {"/runs/run-*", "/models/*", "/entries/*", "/sites/east", "/governance"} <= kinds


def test_every_claim_about_a_round_leads_to_the_entry_that_says_it(opened, visitor):
    page = visitor.page("/runs/run-1")
    table = page[page.index("<table") : page.index("</table>")]
    cells = re.findall(r'<a href="/entries/(\d+)"><span class="status (\w+)">([\w ]+)', table)
    entries = [opened.get(f"/v1/events/{at}")["found"]["entry"] for at, _, _ in cells]
    told = {(word, entry["type"]) for (_, _, word), entry in zip(cells, entries, strict=True)}
    assert told == {
        ("accepted", "update.sent"),
        ("late", "round.closed"),
        ("closed", "round.closed"),
    }
    assert len(cells) == 3 + 3 + 2


def test_the_ledger_shows_what_was_logged_beside_what_it_comes_to(opened, visitor):
    page = visitor.page("/runs/run-1")
    accounts = opened.get("/v1/runs/run-1/privacy-ledger")["accounts"]
    assert len(accounts) == 3
    for account in accounts:
        assert f'<td class="n">{account["epsilon_logged"]}</td>' in page
        assert f'<td class="n">{account["epsilon_recomputed"]:.4f}</td>' in page


@pytest.mark.parametrize("name", ["test.noted", "round.closed", "privacy.charged", "read.signed"])
def test_hostile_text_in_an_entry_stays_text(opened, visitor, name):
    body = {f"m{at}": text for at, text in enumerate(HOSTILE)}
    body |= {"site": HOSTILE[0], "run_id": HOSTILE[1], "model_digest": HOSTILE[2]}
    body |= {"participants": list(HOSTILE), "exclusions": [{"site": HOSTILE[0], "reason": "<b>"}]}
    entry = opened.story.write("east", Event(name, body, run_id="<i>run", round=1))
    [index] = opened.parts.sequencer.submit([entry])
    opened.settle()
    pages = [visitor.page(f"/entries/{index}"), visitor.page("/search"), visitor.page("/findings")]
    pages += [visitor.page("/runs/%3Ci%3Erun"), visitor.page(f"/sites/{HOSTILE[0][:8]}")]
    for page in pages:
        Markup.of(page).checked()
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "<i>run" not in page
        assert not set("\u202e\u2066\u200b\u0000") & set(page)
    assert "⟨U+202E⟩gnp.exe⟨U+2066⟩" in pages[0]


def test_what_the_page_tells_to_type_checks_the_saved_files(opened, visitor, tmp_path):
    page = visitor.page("/entries/7")
    (tmp_path / "entry-7.json").write_bytes(visitor.get("/entries/7/bytes").content)
    proof = visitor.get("/entries/7/proof").text
    (tmp_path / "consortium.json").write_bytes(opened.story.consortium_bytes)
    command = html.unescape(re.search(r'<pre[^>]* id="command"[^>]*>(.*?)</pre>', page, re.S)[1])

    def check(text: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "entry-7.tlog-proof").write_text(text)
        given = [sys.executable, *command.split()[1:]]
        return subprocess.run(given, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert command.startswith("python -m audit prove ")
    assert check(proof).returncode == 0, check(proof).stderr
    assert check(proof.replace("index 7", "index 8")).returncode not in {0, 1, 2}


def test_a_signature_that_does_not_hold_is_not_called_one_that_does(opened):
    strangers = replace(opened.desk.trust, producers={})
    opened.desk = replace(opened.desk, trust=strangers)
    page = Visitor.signed_in(opened).page("/entries/7")
    assert "does not hold" in page
    assert "the consortium file knows no such producer" in page


def test_an_export_by_form_is_the_apis_and_its_digest_is_on_the_page(opened, visitor):
    opened.cosign()
    answer = visitor.post("/exports", {"format": "evidence", "type": "", "run_id": " "})
    assert answer.status_code == 200, answer.text
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        assert "checkpoint" in tar.getnames()
    opened.settle()
    assert hashlib.sha256(answer.content).hexdigest() in visitor.page("/exports")
    found = opened.get("/v1/events", type="audit.export")["entries"][0]["entry"]["body"]
    asked = json.dumps({"format": "evidence", "run_id": " ", "type": ""}).encode()
    seal = Seal.named(opened.desk.seal_key, found["nonce"])
    typed = spell_parameters({}, [], hashlib.sha256(asked).digest())
    assert found["parameters"] == seal.close(typed)


def test_a_form_that_asks_what_cannot_be_asked_is_told_so(visitor):
    for query in ("round=x", "since=tomorrow", "model=abc", "wanted=1", "limit=9999"):
        answer = visitor.get(f"/search?{query}")
        assert answer.status_code == 400
        assert "That cannot be asked so" in answer.text
    assert visitor.post("/exports", {"format": "zip"}).status_code == 400


def test_a_search_goes_on_page_by_page_and_names_its_checkpoint(opened, visitor):
    page = visitor.page("/search?limit=8&type=privacy.&since=2025-10-09T00:00")
    shown = re.findall(r'class="at" href="/entries/(\d+)"', page)
    assert shown == ["6", "8", "10", "14", "16"]
    first = visitor.page("/search?limit=8")
    following = html.unescape(re.search(r'href="(/search\?[^"]+)" rel="next"', first)[1])
    both = first + visitor.page(following)
    assert re.findall(r'class="at" href="/entries/(\d+)"', both) == [str(n) for n in range(16)]
    assert "this page stands under the checkpoint of" in first


def test_an_operator_sees_how_the_log_is_and_nothing_of_what_is_in_it(opened):
    operator = Visitor.signed_in(opened, Role.OPERATOR)
    page = operator.page("/")
    assert "Witnesses" in page
    assert "run-1" not in page
    assert "/search" not in page
    operator.page("/findings")
    for path in ("/search", "/governance", "/runs/run-1", "/entries/1", "/entries/1/proof"):
        answer = operator.get(path)
        assert answer.status_code == 403
        assert "This is not open to you" in answer.text


def test_what_is_not_there_is_said_on_a_page(visitor):
    for path in ("/entries/999999", "/runs/nobody", "/nowhere", "/static/desk.0.css"):
        assert visitor.get(path).status_code == 404
    assert "There is nothing here" in visitor.get("/nowhere").text


def test_all_that_pages_load_is_small_and_never_changes_under_its_address(visitor):
    folder = files("audit.desk.pages") / "static"
    packed = sum(len(gzip.compress(file.read_bytes())) for file in folder.iterdir())
    assert packed <= 40_000
    address = re.search(r'href="(/static/desk\.[0-9a-f]{12}\.css)"', visitor.page("/"))[1]
    answer = TestClient(visitor.client.app, base_url=ORIGIN).get(address)
    assert answer.status_code == 200
    assert "immutable" in answer.headers["cache-control"]
    assert visitor.get("/").headers["cache-control"] == "no-store"


def test_characters_without_a_shape_are_shown_by_their_number():
    assert visible("a\u202eb\u200dc\nd\u2028é日") == "a⟨U+202E⟩b⟨U+200D⟩c\nd⟨U+2028⟩é日"
    assert Rendering().asset("nothing.css") is None


def test_a_page_that_cannot_be_recorded_is_not_shown(opened):
    is_away = []

    @contextmanager
    def connection() -> Iterator[psycopg.Connection]:
        if is_away:
            raise psycopg.OperationalError("the server closed the connection")
        with opened.desk.pool.connection() as found:
            yield found

    outbox = Outbox(opened.story.signers["audit"], opened.desk.clock_us, os.urandom, "demo/log")
    visitor = Visitor.signed_in(
        replace(opened, desk=replace(opened.desk, recorder=Recorder(connection, outbox)))
    )
    assert "accepted" in visitor.page("/runs/run-1")
    is_away.append(True)
    answer = visitor.get("/runs/run-1")
    assert answer.status_code == 503
    assert "accepted" not in answer.text


def test_the_model_that_a_story_led_to_is_drawn_whole(opened, visitor):
    page = visitor.page(f"/models/{digest('model 2')}")
    assert page.count('class="in"') == 5
    assert page.count('class="out"') == 1
    assert "No entry of this log names" in visitor.page(f"/models/{digest('another')}")
    assert {*HOSPITALS} <= set(re.findall(r'href="/sites/(\w+)"', page))


def test_the_pages_of_an_empty_log_say_that_there_is_nothing(dsn, tmp_path):
    story = Story()
    story.found()
    with opened_desk(dsn, story, tmp_path) as desk:
        visitor = Visitor.signed_in(desk)
        assert "No run has begun" in visitor.page("/")
        assert "Nobody has voted yet" in visitor.page("/governance")
        for path in PAGES[:-1]:
            visitor.page(path)


def test_a_page_is_made_by_the_same_application_that_is_served(opened):
    client = TestClient(create_app(opened.desk), base_url=ORIGIN)
    assert client.get("/sign-in").headers["x-content-type-options"] == "nosniff"


def test_what_takes_two_officers_takes_two_of_them_on_the_page_too(opened):
    first = Visitor.signed_in(opened, Role.RECORDS_OFFICER)
    second = Visitor.signed_in(opened, Role.RECORDS_OFFICER)
    set_hold = {"reason": "litigation", "reference": "2026/114", "run_id": "run-1"}
    assert first.post("/records/holds", set_hold).headers["location"] == "/records"
    lift = re.search(r'action="(/records/holds/[^"]+/lift)"', first.page("/records"))[1]
    first.post(lift, {"reason": "matter-closed", "reference": "2026/114"})
    own, other = first.page("/records"), second.page("/records")
    confirm = re.search(r'action="(/records/lift/[^"]+/confirm)"', other)[1]
    told = re.search(r'<span class="hash">(sha256:[0-9a-f]{64})</span>', own)[1]
    assert "/confirm" not in own
    assert first.post(confirm, {"digest": told}).status_code in {403, 409}
    assert second.post(confirm, {"digest": "sha256:" + "0" * 64}).status_code == 409
    assert second.post(confirm, {"digest": told}).headers["location"] == "/records"
    assert "lifted" in second.page("/records")


def test_an_auditor_reads_about_records_and_changes_nothing(opened, visitor):
    page = visitor.page("/records")
    assert page.count("<form") == 1
    form = {"reason": "litigation", "reference": "2026/114", "run_id": "run-1"}
    assert visitor.post("/records/holds", form).status_code == 403
