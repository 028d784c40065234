"""The processes of each party: what is started, in which order, and when it counts as ready.

The one rule: everything said here follows from the party's own settings file, so that the demo, a
container and a hospital start the same thing. How processes are kept alive is not known here.
"""

import json
import os
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from audit.desk.settings import DeskSettings
from audit.settings import AuditSettings, SettingsError, read_settings, split_address

if TYPE_CHECKING:
    from hospital_node.settings import NodeSettings

_CONNECT_TIMEOUT_S = 0.5


@dataclass(frozen=True, slots=True)
class Process:
    """One process to keep alive."""

    name: str
    command: tuple[str, ...]
    is_ready: Callable[[], bool]
    """Asked again and again after the start, until it says yes."""
    early_exits_allowed: int = 0
    """How often it may end before it was ready; it is started again after a pause."""


@dataclass(frozen=True, slots=True)
class Household:
    """All processes of one party."""

    name: str
    state: Path
    waves: tuple[tuple[Process, ...], ...]
    """Started in this order; a wave starts when the one before is ready."""
    ports: tuple[tuple[str, str], ...]
    """Every address it listens on, with the setting that names it."""


def audit_household(config: Path) -> Household:
    """The audit service's processes."""
    settings = read_settings(config, AuditSettings)
    listen = settings.audit.listen
    waves = [(Process("sequencer", _command("audit.service", config), _answers(listen)),)]
    ports = [("audit.listen", listen)]
    if settings.desk is not None:
        # After the sequencer, which makes the tables and gives the desk its rights.
        desk = read_settings(config, DeskSettings).desk.listen
        waves.append((Process("desk", _command("audit.desk", config), _answers(desk)),))
        ports.append(("desk.listen", desk))
    return Household(
        name="audit", state=settings.audit.state, waves=tuple(waves), ports=tuple(ports)
    )


def centre_household(config: Path) -> Household:
    """The centre's processes."""
    from services.settings import CentreSettings  # noqa: PLC0415 - a party installs its own part

    settings = read_settings(config, CentreSettings)
    superlink = f"127.0.0.1:{settings.superlink.port}"
    door, listen = settings.door.listen, settings.centre.listen
    return Household(
        name=settings.centre.name,
        state=settings.centre.state,
        waves=(
            (
                Process("superlink", _command("services.superlink", config), _answers(superlink)),
                Process("door", _command("services.door", config), _answers(door)),
            ),
            (Process("coordinator", _command("services.coordinator", config), _answers(listen)),),
        ),
        ports=(("centre.listen", listen), ("door.listen", door), ("superlink.port", superlink)),
    )


def node_household(config: Path) -> Household:
    """A hospital's processes."""
    from hospital_node.settings import NodeSettings  # noqa: PLC0415 - see centre_household

    settings = read_settings(config, NodeSettings)
    port = settings.flower.client_app_api_port
    runtime = f"127.0.0.1:{port}"
    doors, door_ports = _doors(config, settings)
    review, review_ports = _review(config, settings)
    return Household(
        name=settings.site.name,
        state=settings.site.state,
        waves=(
            (
                *doors,
                *review,
                Process("logkeeper", _command("hospital_node.logkeeper", config), _at_once),
                # A node that was killed is refused until its last lease has run out (60 s).
                Process(
                    "supernode",
                    _command("hospital_node.supernode", config),
                    _answers(runtime) if port else _at_once,
                    early_exits_allowed=8,
                ),
            ),
            (Process("executor", _command("hospital_node.executor", config), _at_once),),
        ),
        ports=((("flower.client_app_api_port", runtime),) if port else ())
        + door_ports
        + review_ports,
    )


def _doors(
    config: Path, settings: "NodeSettings"
) -> tuple[tuple[Process, ...], tuple[tuple[str, str], ...]]:
    """A hospital's receiver and its port, where the settings name a door for images."""
    if settings.receiver is None and settings.pacs is None:
        return (), ()
    command = _command("hospital_node.receiver", config)
    if settings.receiver is None:
        return (Process("receiver", command, _at_once),), ()
    listen = settings.receiver.listen
    return (Process("receiver", command, _answers(listen)),), (("receiver.listen", listen),)


def _review(
    config: Path, settings: "NodeSettings"
) -> tuple[tuple[Process, ...], tuple[tuple[str, str], ...]]:
    """A hospital's review page and its port, where the settings have one."""
    if settings.review is None:
        return (), ()
    listen = settings.review.listen
    command = _command("hospital_node.review", config)
    return (Process("review", command, _answers(listen)),), (("review.listen", listen),)


def check_ports(household: Household) -> None:
    """Pass when every address of the household is free.

    Raises:
        SettingsError: one is taken, or not an address of this machine.
    """
    for setting, address in household.ports:
        host, port = split_address(address)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as cause:
                raise SettingsError(
                    f"{household.name}: {setting} = {address} cannot be used "
                    f"({cause.strerror or cause}); stop what listens there or choose another port"
                ) from cause


def up_file(state: Path) -> Path:
    """The file that says a household is up, and with which processes."""
    return state / "up.json"


def is_up(state: Path) -> bool:
    """Whether the household with this state folder has said that it is ready, and still runs."""
    try:
        pid = int(json.loads(up_file(state).read_bytes())["pid"])
        os.kill(pid, 0)
    except (OSError, ValueError, KeyError):
        return False
    return True


def python(*arguments: str) -> tuple[str, ...]:
    """A command of this Python; `-P` keeps folders named like our packages off its path."""
    return (sys.executable, "-P", *arguments)


def _command(module: str, config: Path) -> tuple[str, ...]:
    return python("-m", module, "--config", str(config.resolve()))


def _answers(address: str) -> Callable[[], bool]:
    """Whether somebody accepts connections at `host:port`."""
    host, port = split_address(address)
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared only

    def answers() -> bool:
        try:
            socket.create_connection((reachable, port), _CONNECT_TIMEOUT_S).close()
        except OSError:
            return False
        return True

    return answers


def _at_once() -> bool:
    """For a process that listens nowhere."""
    return True


def all_of(household: Household) -> Sequence[Process]:
    """Every process of the household, in the order of starting."""
    return [process for wave in household.waves for process in wave]


if __name__ == "__main__":
    # A container's health check: `python -m deploy.processes STATE` is 0 while the household is up.
    sys.exit(not is_up(Path(sys.argv[1])))
