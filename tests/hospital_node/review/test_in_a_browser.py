"""The review page in a real browser: the window's arithmetic, a read by keyboard alone, faults."""

import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from audit_parties import Certificates
from browser import Tab, open_browser
from review_room import PASSWORD, SESSION, Room, Visitor

from hospital_node.imaging.pixels import apply_window
from hospital_node.review.roles import Role

PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with open_browser(tmp_path_factory.mktemp("browser")) as tab:
        tab.size(1440, 900, scheme="dark")
        yield tab


@pytest.fixture
def url(room: Room, tmp_path: Path, tab: Tab) -> Iterator[str]:
    """The room over TLS."""
    tls = Certificates(tmp_path / "tls").issue("room")
    server = uvicorn.Server(
        uvicorn.Config(
            room.app,
            log_config=None,
            ssl_certfile=str(tls.certificate),
            ssl_keyfile=str(tls.key),
        )
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        tab.call("Network.clearBrowserCookies")
        tab.complaints.clear()
        try:
            yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            tab.open("about:blank")
            server.should_exit = True
            thread.join()


def become(tab: Tab, url: str, visitor: Visitor) -> None:
    """Have the browser hold a session."""
    tab.call(
        "Network.setCookie",
        name=SESSION, value=visitor.client.cookies[SESSION], url=url, path="/",
        secure=True, httpOnly=True, sameSite="Strict",
    )  # fmt: skip


def until(tab: Tab, script: str) -> Any:
    """What a script comes to, once that is something, whatever page it is asked of meanwhile."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            found = tab.run(script)
        except AssertionError:
            found = None
        if found:
            return found
        assert time.monotonic() < end, (script, tab.run("document.body.innerText"))
        time.sleep(0.05)


def press(tab: Tab, key: str, *, text: str = "", shift: bool = False) -> None:
    codes = {"Enter": 13, "Tab": 9, " ": 32, "ArrowDown": 40, "ArrowUp": 38}
    options: dict[str, Any] = {"key": key, "modifiers": 8 if shift else 0}
    if key in codes:
        options["windowsVirtualKeyCode"] = codes[key]
    typed = {"Enter": "\r", " ": " "}.get(key, key if len(key) == 1 else text)
    tab.call("Input.dispatchKeyEvent", type="keyDown", text=typed, **options)
    tab.call("Input.dispatchKeyEvent", type="keyUp", **options)


def write(tab: Tab, words: str) -> None:
    tab.call("Input.insertText", text=words)


def focused(tab: Tab) -> str:
    script = "((e) => (e.name || e.tagName) + ':' + (e.value || e.innerText || ''))"
    return tab.run(f"{script}(document.activeElement)")


def tab_to(tab: Tab, start: str) -> None:
    """Press Tab until what has the focus begins so."""
    for _ in range(80):
        if focused(tab).startswith(start):
            return
        press(tab, "Tab")
    raise AssertionError(f"Tab never comes to {start}; it is at {focused(tab)}")


DRAWN = "document.querySelector('#pane-0 .proof').textContent.startsWith('Pixels checked')"


def test_the_browsers_window_is_the_nodes_to_the_grey_level(room: Room, url: str, tab: Tab) -> None:
    tab.open(f"{url}/sign-in")
    rng = random.Random(20261123)
    for number in range(24):
        form = rng.choice(["grey-u16", "grey-i16"])
        described = {
            "form": form,
            "slope": rng.choice([1, 1, 2.5, 0.1]),
            "intercept": rng.choice([0, -1024, 12.5]),
            "is_inverted": rng.random() < 0.5,
            "padding": None,
        }
        look = {
            "centre": round(rng.uniform(-2000, 6000), 2),
            "width": rng.choice([1, 2, round(rng.uniform(2, 9000), 2)]),
            "function": ["LINEAR", "LINEAR", "LINEAR_EXACT", "SIGMOID"][number % 4],
            "isInverted": rng.random() < 0.5,
        }
        script = f"""import("/static/{version(tab)}/window.js").then((m) =>
            Array.from(m.greyTable({json.dumps(described)}, {json.dumps(look)})))"""
        theirs = np.array(tab.run(script))
        stored = np.arange(65536, dtype=np.uint16)
        values = (stored.view(np.int16) if form == "grey-i16" else stored).astype(np.float64)
        shades = np.clip(
            apply_window(
                values * described["slope"] + described["intercept"],
                centre=look["centre"],
                width=look["width"],
                function=look["function"],
            ),
            0,
            1,
        )
        if described["is_inverted"] != look["isInverted"]:
            shades = 1 - shades
        exact = shades * 255
        ours = np.floor(exact + 0.5)
        # Two libraries' exponentials may differ in the last bit, at a tie between two levels.
        is_tie = (look["function"] == "SIGMOID") & (np.abs(exact % 1 - 0.5) < 1e-9)
        assert ((ours == theirs) | is_tie).all(), (described, look)


def version(tab: Tab) -> str:
    script = "document.querySelector('link[rel=stylesheet]').getAttribute('href').split('/')[2]"
    return str(tab.run(script))


def test_a_case_is_read_and_signed_by_keyboard_alone(room: Room, url: str, tab: Tab) -> None:
    room.person("wanda", Role.READER)
    tab.open(f"{url}/")
    until(tab, "document.activeElement.name === 'name'")
    write(tab, "wanda")
    press(tab, "Tab")
    write(tab, PASSWORD)
    press(tab, "Enter")
    until(tab, "location.pathname === '/worklist' && document.readyState === 'complete'")
    tab_to(tab, "BUTTON:Next case")
    press(tab, "Enter")
    until(tab, "location.pathname.startsWith('/cases/')")
    until(tab, DRAWN)
    until(tab, "document.activeElement.tagName === 'CANVAS'")
    before = tab.run("document.querySelector('#pane-0 .corner').textContent")
    for key in ("w", "d", "i", "+", "x"):
        press(tab, key)
    after = until(tab, "document.querySelector('#pane-0 .corner').textContent")
    assert before != after
    assert "Inverted" in after
    assert "column 32, row 32: " in tab.run("document.querySelector('#pane-0 .value').textContent")
    press(tab, "f")
    assert focused(tab) == "finding:nodule"
    press(tab, " ")
    tab_to(tab, "confidence")
    press(tab, " ")
    tab_to(tab, "comment")
    write(tab, "left apex")
    until(tab, "document.querySelector('.saved').textContent.startsWith('Draft saved')")
    tab_to(tab, "password")
    write(tab, PASSWORD)
    press(tab, "Enter")
    until(tab, "document.body.innerText.includes('You signed')")
    rows = room.rows("SELECT finding, confidence, comment FROM review_read")
    assert rows == [(["nodule"], 1, "left apex")]
    assert tab.complaints == []


def test_slices_and_the_prior_are_paged_and_ruled(room: Room, url: str, tab: Tab) -> None:
    visitor = room.person("wanda", Role.READER)
    become(tab, url, visitor)
    stack, with_prior = room.number_of("PLANTED3"), room.number_of("PLANTED1")
    for number in (stack, with_prior):
        visitor.open(number)
    tab.open(f"{url}/cases/{stack}")
    until(tab, DRAWN)
    until(tab, "document.activeElement.tagName === 'CANVAS'")
    press(tab, "ArrowDown")
    press(tab, "ArrowDown")
    until(tab, "document.querySelector('#pane-0 .corner').textContent.startsWith('Slice 3 of 5')")
    press(tab, "x")
    until(tab, "document.querySelector('#pane-0 .value').textContent.endsWith(': 2 HU')")
    press(tab, "Enter")
    for _ in range(6):
        press(tab, "ArrowDown")
    press(tab, "Enter")
    until(tab, "document.querySelector('#pane-0 .ruled').textContent === '3 mm'")
    assert tab.run("document.querySelector('#pane-0 .left').textContent") == "R"
    tab.open(f"{url}/cases/{with_prior}")
    until(tab, DRAWN)
    assert tab.run("document.querySelector('[data-tool=ruler]').disabled")
    press(tab, "p")
    until(tab, DRAWN.replace("pane-0", "pane-1"))
    assert "Prior, 2 y 1 mo before" in tab.run("document.querySelector('#pane-1').innerText")
    assert tab.complaints == []


def test_an_image_that_cannot_be_shown_says_so_and_shows_none(
    room: Room, url: str, tab: Tab
) -> None:
    visitor = room.person("wanda", Role.READER)
    become(tab, url, visitor)
    number = room.number_of("PLANTED2")
    visitor.open(number)
    file = room.file_of(number)
    kept = file.read_bytes()
    try:
        file.write_bytes(kept[:-2] + b"\1\1")
        tab.open(f"{url}/cases/{number}")
        told = until(tab, "document.querySelector('#pane-0 .fault').textContent")
    finally:
        file.write_bytes(kept)
    assert told.startswith("No image.")
    assert "has changed" in told


@pytest.mark.parametrize("width", [390, 1440])
def test_no_page_is_wider_than_the_screen_and_nothing_is_refused(
    room: Room, url: str, tab: Tab, width: int
) -> None:
    people = {role: room.person(f"one-{role}", role) for role in Role}
    number = room.numbers()[0]
    people[Role.READER].open(number)
    paths = {
        Role.READER: ["/worklist", f"/cases/{number}", "/cases/ABCD-EFGH"],
        Role.QA: ["/agreement"],
        Role.IT: ["/people"],
        Role.ADJUDICATOR: ["/worklist"],
    }
    tab.size(width, 900, scheme="dark")
    for role, visitor in people.items():
        become(tab, url, visitor)
        for path in paths[role]:
            tab.open(url + path)
            wide = tab.run("document.documentElement.scrollWidth")
            assert wide <= width, (path, wide)
            assert "Not for diagnostic use" in tab.run(
                "document.querySelector('.banner').innerText"
            )
            if path == f"/cases/{number}":
                until(tab, DRAWN)
    tab.size(1440, 900, scheme="dark")
    expected = [text for text in tab.complaints if "404" in text]
    assert tab.complaints == expected
