"""Commands about the privacy budget: what is spent, what a plan would cost, the ledger made anew.

Each command is: read, call one function, show.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from audit.settings import read_settings
from hospital_node.console import DEFAULT_CONFIG, AsJson, Config, show, stderr, stdout
from hospital_node.settings import NodeSettings

app = typer.Typer(help="What this hospital's patients have been charged, and what is left.")


@app.callback(invoke_without_command=True)
def show_budget(
    context: typer.Context, *, as_json: AsJson = False, config: Config = DEFAULT_CONFIG
) -> None:
    """Show what has been charged to this hospital's patients, what is left, and by which plan.

    Fails where the ledger and this hospital's own log disagree, or where the consortium's log has
    seen this hospital charge more than its database holds.
    """
    if context.invoked_subcommand is not None:
        return
    from audit.refusal import LogUnavailableError  # noqa: PLC0415
    from hospital_node import budget, views  # noqa: PLC0415
    from hospital_node.continuity import check_continuity  # noqa: PLC0415
    from hospital_node.local_events import Figures  # noqa: PLC0415
    from hospital_node.site import open_site  # noqa: PLC0415

    with open_site(read_settings(config, NodeSettings)) as site:
        rows = budget.accounts(site)
        views.note_shown(site, Figures.BUDGET, len(rows))
        if as_json:
            print(json.dumps(rows, indent=2))
        else:
            _show_accounts(rows)
        try:
            check_continuity(site)
        except LogUnavailableError as fault:
            stderr.print(f"not compared with the consortium's log: {fault}")


@app.command("preview")
def preview(
    plan_id: Annotated[str, typer.Argument(help="The plan's id (sha256:…).")],
    *,
    as_json: AsJson = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Show what accepting a plan would cost this hospital's patients. Charges nothing."""
    from hospital_node import budget, views  # noqa: PLC0415
    from hospital_node.local_events import Figures  # noqa: PLC0415
    from hospital_node.site import open_site  # noqa: PLC0415

    with open_site(read_settings(config, NodeSettings)) as site:
        found = budget.preview(site, plan_id)
        views.note_shown(site, Figures.BUDGET, 1)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    stdout.print(_preview_words(found))


@app.command("rebuild")
def rebuild(
    copy: Annotated[
        Path | None,
        typer.Option("--from", help="An export of this hospital's own log, after a disk loss."),
    ] = None,
    *,
    as_json: AsJson = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Write the ledger anew from this hospital's own log, where rows were lost or changed.

    Refuses where the log is behind what the consortium's log knows of it.
    """
    from hospital_node.rebuilding import rebuild_ledger  # noqa: PLC0415
    from hospital_node.site import open_site  # noqa: PLC0415

    with open_site(read_settings(config, NodeSettings)) as site:
        done = rebuild_ledger(site, site.person("rebuild"), copy=copy)
    if as_json:
        print(json.dumps(done.to_json(), indent=2))
        return
    stdout.print(
        f"the ledger holds {done.charges} charges, as this hospital's own log tells; "
        f"{done.written} of them were written anew, {done.set_aside} rows set aside"
    )
    if done.restored:
        stdout.print(f"{done.restored} entries of this hospital's own log were put back")
    if done.lost:
        stderr.print(
            f"{done.lost} later entries of it are lost; none was about a charge, but whoever holds "
            "the log to its anchors will ask for them"
        )


def _show_accounts(rows: list[dict[str, Any]]) -> None:
    by_plan = [row | {"patients": one["patients"]} for one in rows for row in one["plans"]]
    _table("Privacy budget: epsilon of one patient, and it never comes back", rows, _ACCOUNT)
    _table("By plan", by_plan, _BY_PLAN)
    stdout.print(_LEGEND)
    for row in by_plan:
        if "epsilon_claimed_per_image" in row:
            stdout.print(f"{row['title']}: {_claim_words(row)}")


_ACCOUNT = {
    "patients": "patients",
    "charges": "charges",
    "spent": "epsilon",
    "left": "left",
    "budget": "budget",
    "delta": "delta",
}
"""Columns as they are read, and the figure in each."""

_BY_PLAN = {
    "plan": "title",
    "patients": "patients",
    "charges": "charges",
    "spent": "epsilon",
    "of": "epsilon_cap",
    "training alone": "epsilon_training",
    "the same, frozen": "epsilon_training_frozen",
    "id": "plan_id",
}

_LEGEND = (
    "Plans add up to less than the sum of their rows. What is spent is enforced; the frozen figure "
    "is the tighter one that a plan has whose noise was fixed before it began, and decides nothing."
)


def _table(title: str, rows: list[dict[str, Any]], columns: dict[str, str]) -> None:
    named = [{name: row.get(key) for name, key in columns.items()} for row in rows]
    show(title, named, tuple(columns), as_json=False)


def _preview_words(found: dict[str, Any]) -> str:
    """A preview as it would be read aloud."""
    bears = "bears" if found["is_affordable"] else "does NOT bear"
    frozen = found["epsilon_training_frozen"]
    tighter = "" if frozen is None else f" ({frozen:.2f} as a plan whose noise is frozen)"
    lines = [
        f"{found['title']}: the budget {bears} it.",
        f"Spent until now: epsilon {found['spent']:.2f}. After it: {found['after']:.2f} of "
        f"{found['budget']:g}, at delta {found['delta']}.",
        f"Its training alone: epsilon {found['epsilon_training']:.2f}{tighter}; each patient joins "
        f"a step with probability {found['sample_rate']}, noise {found['noise_multiplier']}.",
        _claim_words(found)[0].upper() + _claim_words(found)[1:],
    ]
    if found["objection"]:
        lines.insert(1, f"This hospital's policy forbids it: {found['objection']}.")
    if found["vote"]:
        lines.insert(1, f"This hospital has voted on it: {found['vote']}.")
    return "\n".join(lines)


def _claim_words(row: dict[str, Any]) -> str:
    """What a bound per image would have hidden, in a sentence."""
    worth = {
        row["images_per_patient_claim"]: row["epsilon_per_image_claim"],
        row["images_per_patient_most"]: row["epsilon_per_image_claim_most"],
    }
    meant = " and ".join(
        f"{'no bound at all' if value is None else f'{value:.1f}'} for a patient with {images}"
        for images, value in worth.items()
    )
    return (
        "a tool that bounds each image would report epsilon "
        f"{row['epsilon_claimed_per_image']:.2f}, and mean {meant} images."
    )
