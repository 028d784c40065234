"""Commands about the doors: is the way to the PACS sound, and what is left to fetch from it.

Each command is: read, call one function, show.
"""

import json
from typing import Annotated

import typer
from rich.markup import escape

from audit.settings import SettingsError, read_settings
from hospital_node.console import DEFAULT_CONFIG, AsJson, Config, stdout
from hospital_node.settings import NodeSettings

_UNSOUND = 1
"""As `wardround doctor` returns it: something there is to mend."""


def doctor(
    image: Annotated[
        bool,
        typer.Option(
            "--image",
            help="Also send a synthetic image (patient WARDROUND-TEST) to the PACS, have it "
            "committed, and fetch it back. It stays in the PACS until its staff remove it.",
        ),
    ] = False,
    *,
    as_json: AsJson = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Try the way to the PACS and back; say what to mend, in words for its staff."""
    from hospital_node.imaging.doors import doctor as pacs_doctor  # noqa: PLC0415
    from hospital_node.imaging.doors.findings import as_rows  # noqa: PLC0415
    from hospital_node.imaging.doors.silence import silence_libraries  # noqa: PLC0415

    settings = read_settings(config, NodeSettings)
    if settings.pacs is None:
        raise SettingsError(f"{config}: there is no [pacs]; add its address and AE title")
    silence_libraries()
    case = pacs_doctor.Case(settings.pacs, settings.receiver)
    examine = pacs_doctor.examine_with_image if image else pacs_doctor.examine
    findings = []
    for finding in examine(case):
        findings.append(finding)
        if not as_json:
            mark = "[green]ok  [/]" if finding.is_sound else "[red]mend[/]"
            said = "" if finding.is_sound else f"\n     {escape(finding.remedy)}"
            stdout.print(mark, finding.step, said)
    if as_json:
        print(json.dumps(as_rows(findings), indent=2))
    if not all(finding.is_sound for finding in findings):
        raise typer.Exit(_UNSOUND)
