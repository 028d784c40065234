"""What there is to see in a case that is open, and its pixels; nothing that a model has said."""

import json

from fastapi import APIRouter, Depends
from starlette.responses import Response

from hospital_node.review.door import Visit, admit, json_answer
from hospital_node.review.opening import open_priors
from hospital_node.review.pictures import read_picture
from hospital_node.review.roles import Role
from hospital_node.review.views import find_place, list_pictures

router = APIRouter()

_READS = admit(Role.READER, Role.ADJUDICATOR)


@router.get("/cases/{case_id}/pictures")
def pictures(case_id: str, visit: Visit = Depends(_READS)) -> Response:
    """The series of the studies that are open."""
    return json_answer({"studies": list_pictures(visit.desk.room, visit.session, case_id)})


@router.post("/cases/{case_id}/priors")
def priors(case_id: str, visit: Visit = Depends(_READS)) -> Response:
    """Open the patient's earlier studies too."""
    open_priors(visit.desk.room, visit.session, case_id)
    return json_answer({"studies": list_pictures(visit.desk.room, visit.session, case_id)})


@router.get("/cases/{case_id}/pictures/{study}/{series}/{number}")
def picture(  # noqa: PLR0917 - the parts of its address
    case_id: str, study: int, series: int, number: int, visit: Visit = Depends(_READS)
) -> Response:
    """One picture's samples, with their digest and what the viewer must know beside."""
    wanted = (study, series, number)
    place = find_place(visit.desk.room, visit.session, case_id, wanted=wanted)
    sent = read_picture(visit.desk.files, place)
    headers = {
        "Wardround-Pixels-Digest": sent.digest,
        "Wardround-Picture": json.dumps(sent.described),
        "Cache-Control": "no-store",
    }
    return Response(sent.content, media_type="application/octet-stream", headers=headers)
