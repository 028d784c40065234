"""The report and the summary: self-contained, complete, and honest about what is not known."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

from deploy.charts import Scale, forest, roc_path, spending
from deploy.report import render_report
from deploy.summary import (
    Attack,
    Auc,
    Left,
    LogState,
    PlanTerms,
    Quarantined,
    Rate,
    SiteResult,
    Summary,
    summary_json,
)

MADE = datetime(2026, 3, 4, 9, 5, tzinfo=UTC)

SITE = SiteResult(
    name="north",
    organisation="North <Hospital>",
    patients_train=270,
    patients_held_out=90,
    auc_global=Auc(0.934, 0.88, 0.97),
    auc_local=Auc(0.881, 0.81, 0.93),
    roc_global=((0.0, 0.0), (0.1, 0.8), (1.0, 1.0)),
    roc_local=((0.0, 0.0), (0.2, 0.7), (1.0, 1.0)),
    epsilon_charged=2.99,
    epsilon_per_round=(1.2, 1.7, 2.1, 2.6, 2.99),
    delta=1e-5,
    epsilon_per_image_claim=15.9,
    images_per_patient_claim=4,
    attack=Attack(0.9053, Rate(0.021, -0.04, 0.082), None),
)

SUMMARY = Summary(
    plan=PlanTerms("sha256:" + "ab" * 32, "Opacity or not", 5, 3.0, 1e-5, 4, "net"),
    images="Synthetic chest radiographs",
    is_synthetic=True,
    rounds_completed=5,
    participants_per_round=(("north", "south"), ("north",), *(("north", "south"),) * 3),
    excluded=(Left(2, "south", "late", "no answer within 30 s"),),
    sites=(SITE, replace(SITE, name="south", epsilon_per_image_claim=None)),
    quarantined=(Quarantined("north", "a.dcm", "not DICOM"),),
    log=LogState(64, "00ff" * 16, ("North", "South"), verified=True),
    seconds={"ingest": 31.2, "train": 60.0, "total": 131.0},
    peak_rss_mb=4200.0,
    verify_with="python -m audit verify out/demo/evidence.tar",
)


class _Page(HTMLParser):
    """Collects what a page loads and whether its tags are balanced."""

    VOID = frozenset({"meta", "br", "link", "img", "input", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """`<circle/>` opens nothing."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def _page(summary: Summary = SUMMARY) -> tuple[str, _Page]:
    text = render_report(summary, made=MADE)
    return text, _Page(text)


def test_the_page_loads_nothing_from_anywhere() -> None:
    text, page = _page()
    assert page.loaded == []
    assert "url(" not in text
    assert "@import" not in text
    assert "<script" not in text


def test_the_page_is_well_formed_and_escapes_what_it_is_told() -> None:
    text, page = _page()
    assert page.open == []
    assert "North &lt;Hospital&gt;" in text


def test_every_figure_of_a_site_is_said_in_words_and_not_by_a_chart_alone() -> None:
    said = " ".join(" ".join(_page()[1].words).split())
    for figure in ("0.934", "0.880 – 0.970", "0.881", "+0.053", "2.99", "10⁻⁵", "ε = 15.9"):
        assert figure in said


def test_whoever_was_left_out_is_named_with_the_reason() -> None:
    said = " ".join(_page()[1].words)
    assert "no answer within 30 s" in said
    assert "left out" in _page()[0]
    alone = replace(SUMMARY, excluded=())
    assert "Nobody was left out" in render_report(alone, made=MADE)


def test_a_claim_without_any_bound_is_called_that() -> None:
    assert "no bound" in _page()[0]


def test_a_site_whose_held_out_patients_are_all_alike_has_no_auc() -> None:
    lonely = replace(SITE, auc_global=None, auc_local=None, roc_global=(), roc_local=())
    text = render_report(replace(SUMMARY, sites=(lonely,)), made=MADE)
    assert "all of one class" in text
    assert json.loads(summary_json(replace(SUMMARY, sites=(lonely,))))["mean_auc_global"] is None


def test_a_log_that_does_not_verify_is_said_in_large_letters() -> None:
    false = replace(SUMMARY, log=replace(SUMMARY.log, verified=False))
    assert "The log does not verify" in render_report(false, made=MADE)


def test_the_summary_holds_every_field_that_programs_were_promised() -> None:
    content = json.loads(summary_json(SUMMARY))
    assert {
        "rounds_completed",
        "participants_per_round",
        "excluded",
        "quarantined",
        "peak_rss_mb",
    } <= content.keys()
    assert {
        "name",
        "patients_train",
        "auc_global",
        "auc_global_ci",
        "auc_local",
        "auc_local_ci",
        "epsilon_charged",
        "delta",
        "epsilon_per_image_claim",
    } <= content["sites"][0].keys()
    assert {"size", "root", "cosignatures", "verified"} <= content["log"].keys()
    assert {"ingest", "train", "total"} <= content["seconds"].keys()
    assert content["sites"][0]["auc_global_ci"] == [0.88, 0.97]
    assert content["mean_auc_global"] == 0.934


def test_a_scale_puts_what_lies_outside_on_its_edge() -> None:
    scale = Scale(0.8, 1.0, 100, 200)
    assert [scale.at(value) for value in (0.5, 0.8, 0.9, 1.0, 7.0)] == [100, 100, 150, 200, 200]
    assert [value for value, _ in scale.ticks(0.05)] == [0.8, 0.85, 0.9, 0.95, 1.0]


def test_curves_stay_within_their_frames() -> None:
    numbers = [float(n) for n in re.findall(r"-?[\d.]+", roc_path(SITE.roc_global))]
    assert all(0 <= number <= 220 for number in numbers)
    chart = spending(SUMMARY.sites, cap=3.0, rounds=5)
    assert 0 < chart.cap_y < chart.height
    rows = forest(SUMMARY.sites).rows
    assert all(
        shared is not None and shared.low < shared.value < shared.high for _, shared, _ in rows
    )


def test_what_an_attack_gained_stands_beside_what_any_could_gain() -> None:
    _, page = _page()
    words = " ".join(" ".join(page.words).split())
    for text in ("0.905", "+0.021", "−0.040 … +0.082", "not told"):
        assert text in words
    told = json.loads(summary_json(SUMMARY))["sites"][0]["attack"]
    assert told["bound"] == 0.9053
    assert told["measured"] == {"value": 0.021, "low": -0.04, "high": 0.082}
    assert told["released"] is None
