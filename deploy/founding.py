"""Founding by files: what enrolled parties send in becomes what each of them takes home.

The one rule: an enrolment comes in, papers go out, both may be read by anyone on the way. What the
files mean is said in `deploy.enrolment` and `deploy.provision`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from audit.settings import SettingsError
from deploy.certificates import Authority
from deploy.enrolment import Enrolment, Party, enrol
from deploy.provision import admit, found_consortium, lay_node_keys
from protocol.ballot import Rule
from protocol.consortium import Role
from protocol.errors import RecordError

ENROLMENT = "enrolment.json"


def enrol_party(folder: Path, party: Party) -> Path:
    """Make a party's keys and write its enrolment; return the file that may travel.

    Raises:
        SettingsError: the folder holds keys already, or a name is malformed.
    """
    try:
        enrolment = enrol(folder, party)
    except ValueError as cause:
        raise SettingsError(f"this party cannot enrol: {cause}") from cause
    path = folder / ENROLMENT
    path.write_bytes(enrolment.to_bytes())
    return path


def found_from_files(
    folder: Path, enrolments: Sequence[Path], *, approvals: int, witness_quorum: int
) -> list[Path]:
    """Found a consortium from enrolment files; return a folder of papers for each member.

    A member copies its papers beside its keys. The authority's own key stays in `folder/authority`.

    Raises:
        SettingsError: a file is no enrolment, or they make no consortium.
    """
    known = [_read(path) for path in enrolments]
    consortium = found_consortium(
        known, rule=Rule(approvals=approvals), witness_quorum=witness_quorum
    )
    now = datetime.now(UTC)
    place = folder / "authority"
    authority = (
        Authority.load(place)
        if (place / "ca.key").exists()
        else Authority.create(place, consortium=consortium.name, now=now)
    )
    papers = []
    for enrolment in known:
        mine = folder / enrolment.name
        admit(mine, enrolment, consortium=consortium, authority=authority, now=now)
        if enrolment.role == Role.CENTRE:
            lay_node_keys(mine / "state", known)
        papers.append(mine)
    return papers


def _read(path: Path) -> Enrolment:
    try:
        return Enrolment.from_bytes(path.read_bytes())
    except (OSError, RecordError) as cause:
        raise SettingsError(f"{path}: no enrolment: {cause}") from cause
