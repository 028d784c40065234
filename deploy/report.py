"""The report: a summary as one self-contained HTML page.

The one rule: it loads nothing, from nowhere; whoever keeps the file keeps the report. What the
figures mean is said on the page itself, for people who were not there.
"""

from datetime import datetime

from jinja2 import Environment, PackageLoader, StrictUndefined

from deploy import charts
from deploy.summary import Summary


def render_report(summary: Summary, *, made: datetime) -> str:
    """The page for `summary`, made at the given time (UTC)."""
    environment = Environment(
        loader=PackageLoader("deploy"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = _figure
    environment.filters["signed"] = _signed
    environment.filters["delta"] = _delta
    template = environment.get_template("report.html")
    return template.render(
        summary=summary,
        made=made.strftime("%d %B %Y, %H:%M UTC").lstrip("0"),
        forest=charts.forest(summary.sites),
        rocs=[
            (site, charts.roc_path(site.roc_global), charts.roc_path(site.roc_local))
            for site in summary.sites
        ],
        roc_px=charts.ROC_PX,
        roc_margin=charts.ROC_MARGIN,
        spending=charts.spending(
            summary.sites, cap=summary.plan.epsilon, rounds=summary.plan.rounds
        ),
        by_reason=_by_reason(summary),
    )


def _figure(value: float | None, digits: int = 3) -> str:
    """A number to so many digits after the point; a dash where there is none."""
    return "–" if value is None else f"{value:,.{digits}f}".replace(",", "\u202f")


def _signed(value: float) -> str:
    """A difference to three digits, with its sign."""
    return f"{'+' if value >= 0 else '−'}{_figure(abs(value))}"


def _delta(value: float) -> str:
    """δ as people write it: 10⁻⁵, or 2.5·10⁻⁴."""
    digits, _, exponent = f"{value:.6e}".partition("e")
    mantissa = digits.rstrip("0").rstrip(".")
    power = "10" + str(int(exponent)).translate(_RAISED)
    return power if mantissa == "1" else f"{mantissa}·{power}"


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _by_reason(summary: Summary) -> list[tuple[str, list[str]]]:
    """Quarantined files grouped by reason, each with its site."""
    groups: dict[str, list[str]] = {}
    for one in summary.quarantined:
        groups.setdefault(one.reason, []).append(f"{one.site}/{one.file}")
    return sorted(groups.items())
