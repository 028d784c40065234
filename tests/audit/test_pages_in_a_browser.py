"""The pages in a real browser: nothing refused, nothing too wide, harm inert, the check right."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from audit_parties import Certificates, free_port
from audit_story import digest, whole_story
from browser import Tab, open_browser
from desk_parties import Opened, opened_desk
from pages_story import lineage_of
from pages_visitor import Visitor

from protocol.event import Event

HARM = {
    "a": "<script>document.title='harmed'</script>",
    "b": "<img src=x onerror=\"document.title='harmed'\">",
    "c": "\u202etxt.exe",
    "d": "w" * 4000,
    "e": ["word " * 200, {"f": "q" * 900}],
}


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with open_browser(tmp_path_factory.mktemp("browser")) as tab:
        yield tab


@pytest.fixture
def opened(dsn: str, tmp_path: Path) -> Iterator[Opened]:
    story = whole_story()
    lineage_of(story, sites=20, rounds=12)
    story.write("east", Event("test.noted", HARM, run_id="run-1", round=2))
    with opened_desk(dsn, story, tmp_path) as desk:
        yield desk


@pytest.fixture
def url(opened: Opened, tmp_path: Path, tab: Tab) -> Iterator[str]:
    """The desk over TLS, and the browser signed in."""
    visitor = Visitor.signed_in(opened)
    port = free_port()
    tls = Certificates(tmp_path / "tls").issue("audit")
    server = uvicorn.Server(
        uvicorn.Config(
            visitor.client.app,
            host="127.0.0.1",
            port=port,
            log_config=None,
            ssl_certfile=str(tls.certificate),
            ssl_keyfile=str(tls.key),
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    address = f"https://127.0.0.1:{port}"
    tab.sign_in(address, visitor.cookie)
    tab.complaints.clear()
    try:
        yield address
    finally:
        server.should_exit = True
        thread.join()


def pages(opened: Opened) -> list[str]:
    harmful = opened.story.entries.index(opened.story.entries[-1])
    models = [f"/models/{digest(word)}" for word in ("model 2", "long 12")]
    named = ["/", "/search", "/governance", "/findings", "/looked", "/exports", "/records"]
    more = ["/runs/run-1", "/runs/long-run", "/sites/east", "/entries/1", f"/entries/{harmful}"]
    return [*named, *models, *more, "/sign-in", "/nowhere"]


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_no_page_is_wider_than_the_screen_and_nothing_is_refused(opened, url, tab, width, scheme):
    tab.size(width, scheme=scheme)
    for path in pages(opened):
        tab.open(url + path)
        wide = tab.run("document.documentElement.scrollWidth")
        assert wide <= width, (path, wide)
        assert "harmed" not in tab.run("document.title")
        expected = ["404"] if path == "/nowhere" else []
        assert len(tab.complaints) == len(expected), (path, tab.complaints)
        tab.complaints.clear()


def test_the_check_agrees_on_a_true_proof_and_on_no_other(url, tab):
    tab.size(1280)
    tab.open(f"{url}/entries/6")
    assert check(tab)["outcome"] == "good"
    assert check(tab)["text"].startswith("Agrees")
    spoilt = {
        "another index": "p.value = p.value.replace('index 6', 'index 7')",
        "another path": "l = p.value.split('\\n'); [l[2], l[3]] = [l[3], l[2]];"
        "p.value = l.join('\\n')",
        "a shorter path": "l = p.value.split('\\n'); l.splice(2, 1); p.value = l.join('\\n')",
        "another size": "p.value = p.value.replace(/demo\\/log\\n(\\d+)/, 'demo/log\\n1$1')",
        "another signature": "p.value = p.value.replace(/(— demo\\/log \\S{40})\\S/,"
        "(_, a) => a + '+')",
        "nothing": "p.value = ''",
        "another entry": "f.dataset.entry = btoa(atob(f.dataset.entry).replace('east', 'west'))",
        "another key": "k.value = k.value.replace('demo/log', 'demo/lag')",
    }
    for what, script in spoilt.items():
        tab.open(f"{url}/entries/6")
        found = check(tab, script)
        assert found["outcome"] == "bad", what
        assert found["text"].startswith("Does not agree"), what


def test_the_check_shows_every_step(url, tab):
    tab.open(f"{url}/entries/6")
    check(tab)
    steps = tab.run("[...document.querySelectorAll('#steps li')].map(one => one.innerText)")
    leaf = tab.run("document.getElementById('leaf').textContent")
    assert leaf in steps[0]
    assert any("SHA-256(0x01" in step for step in steps)
    assert "the checkpoint's root" in steps[-2]


def test_a_keyboard_reaches_the_content_first_and_focus_shows(url, tab):
    tab.open(url + "/")
    for _ in ("down", "up"):
        kind = "keyDown" if _ == "down" else "keyUp"
        tab.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab",
                 windowsVirtualKeyCode=9)  # fmt: skip
    assert tab.run("document.activeElement.className") == "skip"
    assert tab.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(url, tab, scheme):
    """WCAG 2.1, 1.4.3 (AA): 4.5 to 1 for text of this size."""
    tab.size(1280, scheme=scheme)
    tab.open(f"{url}/runs/run-1")
    faint = tab.run(CONTRAST)
    assert faint == []


CONTRAST = """
(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgb = (color) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (color) => {
    const [r, g, b] = rgb(color).slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (let one = node; one; one = one.parentElement) {
      const color = getComputedStyle(one).backgroundColor;
      if (rgb(color)[3] === 255) return color;
    }
    return 'white';
  };
  const found = [];
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].some(one => one.nodeType === 3 && one.data.trim());
    if (!own || node.closest('svg, noscript, .unseen, .skip')) continue;
    const [a, b] = [light(getComputedStyle(node).color), light(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(node.className + ' ' + node.textContent.slice(0, 30) + ' ' + ratio);
  }
  return found;
})()
"""


def check(tab: Tab, spoil: str = "") -> dict[str, str]:
    tab.run(
        "(() => { const p = document.getElementById('proof'), f = document.getElementById('check'),"
        f" k = document.getElementById('vkey'); let l; {spoil}; f.requestSubmit(); }})()"
    )
    script = (
        "(() => { const v = document.getElementById('verdict');"
        "return {outcome: v.dataset.outcome || '', text: v.innerText}; })()"
    )
    found = tab.run(script)
    while not found["outcome"]:
        time.sleep(0.02)
        found = tab.run(script)
    return dict(found)
