"""Views: what pages are filled with, from what a person may know and nothing else."""

from collections.abc import Mapping
from typing import Any

from hospital_node.review.acting import begin
from hospital_node.review.cases import Case, State, find_case, list_cases
from hospital_node.review.errors import NotThereError
from hospital_node.review.opening import is_open, priors_of, study_of
from hospital_node.review.priorities import Priority
from hospital_node.review.reads import load_draft, reads_to_settle, versions_of
from hospital_node.review.roles import Role
from hospital_node.review.room import ReadingRoom
from hospital_node.review.sessions import Session
from hospital_node.review.shelf import Place, series_of
from hospital_node.review.worklist import Column, asked_of, chosen


def page_values(room: ReadingRoom, session: Session) -> dict[str, Any]:
    """What every page of a session shows."""
    return {
        "person": session.person,
        "form_token": session.form_token,
        "organisation": room.organisation,
        "now_us": room.clock_us(),
        "idle_minutes": room.settings.idle_minutes,
        "reads": session.person.role in {Role.READER, Role.ADJUDICATOR},
        "adjudicates": session.person.role is Role.ADJUDICATOR,
        "failed": "",
    }


def worklist_view(room: ReadingRoom, session: Session, query: Mapping[str, str]) -> dict[str, Any]:
    """The worklist as asked for."""
    with begin(room, session) as act:
        cases = list_cases(act)
    modalities = sorted({case.modality for case in cases})
    asked = asked_of(query, modalities)
    return page_values(room, session) | {
        "asked": asked,
        "cases": chosen(cases, asked),
        "of": len(cases),
        "waiting": sum(case.state in {State.WAITING, State.YOURS} for case in cases),
        "modalities": modalities,
        "priorities": list(Priority),
        "states": list(State),
        "columns": list(Column),
        "none_left": "none" in query,
    }


def case_view(room: ReadingRoom, session: Session, case: Case) -> dict[str, Any]:
    """One case, with what this person has entered and signed."""
    with begin(room, session) as act:
        return {
            "case": case,
            "draft": load_draft(act, case),
            "versions": versions_of(act, case),
            "others": reads_to_settle(act, case),
            "priors": len(priors_of(act, case)),
            "is_signed": case.state is State.DONE,
        }


def list_pictures(room: ReadingRoom, session: Session, case_id: str) -> list[dict[str, Any]]:
    """The studies of a case that are open in this session, with their series.

    Raises:
        NotThereError: the case is not theirs to see, or not open.
    """
    with begin(room, session) as act:
        case = find_case(act, case_id)
        studies = [(case.study, case.studied), *priors_of(act, case)]
        shown = [
            {
                "study": place,
                "name": "This study" if place == 0 else _before(case.studied, studied),
                "series": [
                    {"name": one.name, "pictures": len(one.places), "note": one.note}
                    for one in series_of(act, study)
                ],
            }
            for place, (study, studied) in enumerate(studies)
            if is_open(act, case, study)
        ]
    if not shown:
        raise NotThereError("this case was not opened in this session; open it from the worklist")
    return shown


def find_place(
    room: ReadingRoom, session: Session, case_id: str, *, wanted: tuple[int, int, int]
) -> Place:
    """The picture at a study, series and number, counted from 0.

    Raises:
        NotThereError: there is none, or its study is not open in this session.
    """
    study_number, series_number, number = wanted
    if min(wanted) >= 0:
        with begin(room, session) as act:
            series = series_of(act, study_of(act, case_id, study_number))
        if series_number < len(series) and number < len(series[series_number].places):
            return series[series_number].places[number]
    raise NotThereError("there is no such picture in this study; open the case again")


def _before(later: str, earlier: str) -> str:
    """How long one month lies before another, in words."""
    months = (int(later[:4]) - int(earlier[:4])) * 12 + int(later[5:]) - int(earlier[5:])
    if not months:
        return "Prior, same month"
    years, rest = divmod(months, 12)
    words = [f"{years} y"] * bool(years) + [f"{rest} mo"] * bool(rest)
    return f"Prior, {' '.join(words)} before"
