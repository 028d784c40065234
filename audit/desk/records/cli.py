"""Records from the command line: `wardround audit holds`, `disposals`, `erase`.

The one rule: a command parses, asks the desk and prints. A key is read from the environment, so
that no shell's history keeps it; and nobody confirms what was not shown to them.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from audit.desk.client import read_key
from audit.desk.records.client import DeskClient
from audit.desk.records.requests import ErasureReason, HoldReason, LiftReason
from audit.errors import AuditError
from audit.settings import SettingsError, exit_code_of

holds = typer.Typer(no_args_is_help=True, help="Legal holds: what they cover is kept.")
disposals = typer.Typer(no_args_is_help=True, help="Payloads whose period is over, by two persons.")
erase = typer.Typer(no_args_is_help=True, help="One payload, as a data subject asked; two persons.")

Desk = Annotated[str, typer.Option("--desk", envvar="WARDROUND_DESK", help="https://host:port")]
Ca = Annotated[
    Path | None,
    typer.Option("--ca", envvar="WARDROUND_DESK_CA", help="PEM file; by default the system's."),
]
Reference = Annotated[str, typer.Option(help="Number of the file with the papers; never a name.")]
Id = Annotated[str, typer.Argument(help="As `list` names it.")]
Yes = Annotated[str | None, typer.Option("--digest", help="Confirm this set without being asked.")]


@holds.command("list")
def list_holds(desk: Desk, ca: Ca = None) -> None:
    """The last legal holds."""
    table = Table("id", "reason", "reference", "covers", "set by", "")
    with _asking(desk, ca) as client:
        for one in client.get("/v1/holds"):
            covers = ", ".join(f"{k}={v}" for k, v in one["scope"].items() if v is not None)
            state = "stands" if one["is_standing"] else "lifted"
            table.add_row(one["id"], one["reason"], one["reference"], covers, one["set_by"], state)
    Console().print(table)


@holds.command("set")
def set_hold(
    desk: Desk,
    reason: Annotated[HoldReason, typer.Option()],
    reference: Reference,
    *,
    plan: Annotated[str | None, typer.Option(help="Of this plan.")] = None,
    run: Annotated[str | None, typer.Option(help="Of this run.")] = None,
    site: Annotated[str | None, typer.Option(help="Of this producer's entries.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="Of entries of this type.")] = None,
    commitment: Annotated[list[str] | None, typer.Option(help="This payload; repeatable.")] = None,
    ca: Ca = None,
) -> None:
    """Set a legal hold on all payloads for which everything that is given is true."""
    scope = {"plan_id": plan, "run_id": run, "producer": site, "type": type_}
    given = {name: value for name, value in scope.items() if value is not None}
    named = {"commitments": commitment} if commitment else {}
    body = _request(reason=str(reason), reference=reference, scope={**given, **named})
    with _asking(desk, ca) as client:
        typer.echo(f"hold {client.post('/v1/holds', body)['id']} stands")


@holds.command("lift")
def lift_hold(
    hold: Id,
    desk: Desk,
    reason: Annotated[LiftReason, typer.Option()],
    *,
    reference: Reference,
    ca: Ca = None,
) -> None:
    """Propose that a hold be lifted."""
    with _asking(desk, ca) as client:
        path = f"/v1/holds/{_id(hold)}/lift"
        _proposed(client.post(path, _request(reason=str(reason), reference=reference)))


@holds.command("confirm")
def confirm_lift(proposal: Id, desk: Desk, *, digest: Yes = None, ca: Ca = None) -> None:
    """Lift a hold that another officer proposes to lift."""
    _confirm("lifts", proposal, desk=desk, digest=digest, ca=ca)


@holds.command("withdraw")
def withdraw_lift(proposal: Id, desk: Desk, ca: Ca = None) -> None:
    """Let a hold stand that was proposed to be lifted."""
    _withdraw("lifts", proposal, desk=desk, ca=ca)


@disposals.command("due")
def list_due(
    desk: Desk, retention: Annotated[str, typer.Option(help="Retention class.")], ca: Ca = None
) -> None:
    """The oldest payloads of a class that may be disposed of."""
    table = Table("commitment", "site", "type", "run")
    with _asking(desk, ca) as client:
        for one in client.get("/v1/retention/due", retention=retention):
            table.add_row(one["commitment"], one["producer"], one["type"], one["run_id"] or "-")
    Console().print(table)


@disposals.command("list")
def list_disposals(desk: Desk, ca: Ca = None) -> None:
    """The last disposals, open or decided."""
    _list("disposals", desk=desk, ca=ca)


@disposals.command("propose")
def propose_disposal(
    desk: Desk,
    retention: Annotated[str, typer.Option(help="Retention class.")],
    reference: Reference,
    *,
    ca: Ca = None,
) -> None:
    """Release the oldest due payloads of a class for disposal."""
    with _asking(desk, ca) as client:
        body = _request(retention=retention, reference=reference)
        _proposed(client.post("/v1/disposals", body))


@disposals.command("confirm")
def confirm_disposal(proposal: Id, desk: Desk, *, digest: Yes = None, ca: Ca = None) -> None:
    """Dispose of what another officer has proposed."""
    _confirm("disposals", proposal, desk=desk, digest=digest, ca=ca)


@disposals.command("withdraw")
def withdraw_disposal(proposal: Id, desk: Desk, ca: Ca = None) -> None:
    """Keep what was proposed for disposal."""
    _withdraw("disposals", proposal, desk=desk, ca=ca)


@erase.command("list")
def list_erasures(desk: Desk, ca: Ca = None) -> None:
    """The last erasures, open or decided."""
    _list("erasures", desk=desk, ca=ca)


@erase.command("propose")
def propose_erasure(
    commitment: Annotated[str, typer.Argument(help="sha256:<64 hex digits>")],
    desk: Desk,
    reason: Annotated[ErasureReason, typer.Option()],
    *,
    reference: Reference,
    ca: Ca = None,
) -> None:
    """Propose that one payload be erased."""
    body = _request(commitment=commitment, reason=str(reason), reference=reference)
    with _asking(desk, ca) as client:
        _proposed(client.post("/v1/erasures", body))


@erase.command("confirm")
def confirm_erasure(proposal: Id, desk: Desk, *, digest: Yes = None, ca: Ca = None) -> None:
    """Erase what another officer has proposed."""
    _confirm("erasures", proposal, desk=desk, digest=digest, ca=ca)


@erase.command("withdraw")
def withdraw_erasure(proposal: Id, desk: Desk, ca: Ca = None) -> None:
    """Keep what was proposed for erasure."""
    _withdraw("erasures", proposal, desk=desk, ca=ca)


def _list(kind: str, *, desk: str, ca: Path | None) -> None:
    table = Table("id", "payloads", "reason", "reference", "proposed by", "ended")
    with _asking(desk, ca) as client:
        for one in client.get(f"/v1/{kind}"):
            table.add_row(*_row(one))
    Console().print(table)


def _row(one: dict[str, Any]) -> list[str]:
    ended = one["decision"]["verdict"] if one["decision"] else "open"
    return [
        one["id"],
        str(one["count"]),
        one["reason"],
        one["reference"],
        one["proposed_by"],
        ended,
    ]


def _confirm(kind: str, proposal: str, *, desk: str, digest: str | None, ca: Path | None) -> None:
    with _asking(desk, ca) as client:
        path = f"/v1/{kind}/{_id(proposal)}"
        if digest is None:
            shown = client.get(path)
            digest = shown["digest"]
            for name in ("matter", "hold", "commitments", "reason", "reference", "proposed_by"):
                typer.echo(f"{name:<12} {shown[name]}")
            typer.confirm("Is this to be done?", abort=True)
        done = client.post(f"{path}/confirm", {"digest": digest})
        typer.echo(f"done, on record as {done['decision']['event_id']}")


def _withdraw(kind: str, proposal: str, *, desk: str, ca: Path | None) -> None:
    with _asking(desk, ca) as client:
        done = client.post(f"/v1/{kind}/{_id(proposal)}/withdraw")
        typer.echo(f"withdrawn, on record as {done['decision']['event_id']}")


def _proposed(proposal: dict[str, Any]) -> None:
    typer.echo(f"proposal {proposal['id']}: {proposal['count']} payloads, {proposal['digest']}")
    typer.echo("another records officer confirms it, with a key of their own")


def _request(**members: Any) -> dict[str, Any]:
    return {"id": str(uuid.uuid4()), **members}


def _id(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError as cause:
        raise SettingsError("an id is a UUID, as `list` names it") from cause


@contextmanager
def _asking(desk: str, ca: Path | None) -> Iterator[DeskClient]:
    """The desk, asked with the key in the environment; faults end in one plain line."""
    try:
        with DeskClient(desk, read_key(None, os.environ), ca=ca) as client:
            yield client
    except (AuditError, SettingsError) as fault:
        typer.echo(f"records: {fault}", err=True)
        raise typer.Exit(exit_code_of(fault)) from fault
