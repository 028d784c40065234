"""A hospital's reading room for tests: a real index and database, people, cases, and visitors."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from argon2 import PasswordHasher
from dicom_site import tiny, write_tiny
from fastapi.testclient import TestClient
from hospital_home import answer, enrolled_home
from pydicom.uid import CTImageStorage, generate_uid
from synthetic import write_labels

from audit.settings import read_settings
from hospital_node.actors import operator_of
from hospital_node.imaging.deidentify import pseudonym
from hospital_node.review.accounts import add_account
from hospital_node.review.app import create_app
from hospital_node.review.cases import Opening, open_cases
from hospital_node.review.desk import furnish
from hospital_node.review.roles import Role
from hospital_node.review.room import ReadingRoom, open_room
from hospital_node.settings import NodeSettings
from protocol.plan import Cohort

ORIGIN = "https://room.test"
SESSION = "__Host-wardround-review"
PASSWORD = "a sentence that nobody else says"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)

SECRETS = ("PLANTED", "ACC4711", "19700101")
"""Planted in every image."""

COHORT = Cohort(modality=("CR", "CT"), label="label", positive="nodule", minimum_patients=1)


@dataclass
class Room:
    """The room, its people's passwords, and a clock that tests turn."""

    room: ReadingRoom
    settings: NodeSettings
    app: Any
    ahead_us: list[int] = field(default_factory=lambda: [0])

    def later(self, minutes: float) -> None:
        self.ahead_us[0] += int(minutes * 60e6)

    def person(self, login: str, role: Role) -> "Visitor":
        """A new account, signed in."""
        actor = operator_of(self.settings, "review")
        add_account(self.room, login, PASSWORD, role=role, actor=actor)
        return self.visitor(login)

    def visitor(self, login: str) -> "Visitor":
        visitor = Visitor(self.app)
        assert visitor.sign_in(login).status_code == 303
        return visitor

    def numbers(self) -> list[str]:
        with self.room.pool.connection() as connection:
            rows = connection.execute("SELECT case_id FROM review_case ORDER BY study").fetchall()
        return [number for (number,) in rows]

    def number_of(self, patient: str) -> str:
        """The case of a patient's latest study."""
        key = self.room.key
        return str(
            self.rows(
                "SELECT case_id FROM review_case JOIN imaging_instance USING (study) "
                "WHERE pseudonym = %s ORDER BY studied DESC LIMIT 1",
                pseudonym(key, patient),
            )[0][0]
        )

    def file_of(self, number: str) -> Path:
        """An image of a case."""
        (path,) = self.rows(
            "SELECT path FROM imaging_instance JOIN review_case USING (study) WHERE case_id = %s",
            number,
        )[0]
        return self.settings.images.folder / path

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.room.pool.connection() as connection:
            return connection.execute(query, values).fetchall()

    def kinds(self) -> list[str]:
        """The kinds of entry in the hospital's own log, in order."""
        return [entry["type"] for entry in self.entries()]

    def entries(self) -> list[dict[str, Any]]:
        rows = self.rows("SELECT content FROM outbox_entry WHERE log = 'local' ORDER BY seq")
        return [json.loads(bytes(content)) for (content,) in rows]


class Visitor:
    """Somebody with a browser, as far as HTTP goes: cookies and forms."""

    def __init__(self, app: Any) -> None:
        self.client = TestClient(app, base_url=ORIGIN, raise_server_exceptions=False)

    def sign_in(self, login: str, password: str = PASSWORD, *, origin: str = ORIGIN) -> Any:
        page = self.get("/sign-in").text
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
        return self.send("/sign-in", fields | {"name": login, "password": password}, origin=origin)

    @property
    def form_token(self) -> str:
        page = self.get("/", follow_redirects=True).text
        return re.search(r'name="form_token" value="([^"]+)"', page)[1]

    def get(self, path: str, **options: Any) -> Any:
        return self.client.get(path, **{"follow_redirects": False} | options)

    def post(self, path: str, **fields: Any) -> Any:
        return self.send(path, {"form_token": self.form_token} | fields)

    def send(self, path: str, fields: dict[str, Any], *, origin: str | None = ORIGIN) -> Any:
        headers = {"Origin": origin} if origin else {}
        return self.client.post(path, data=fields, headers=headers, follow_redirects=False)

    def open(self, number: str) -> Any:
        """Claim a case and look at it."""
        assert self.post(f"/cases/{number}/claim").status_code == 303
        page = self.get(f"/cases/{number}")
        assert page.status_code == 200, page.text
        return page

    def sign(self, number: str, finding: str = "nodule", **fields: Any) -> Any:
        said = {"finding": finding, "confidence": "4", "password": PASSWORD} | fields
        return self.post(f"/cases/{number}/sign", **said)


def found_ward(folder: Path, dsn: str) -> NodeSettings:
    """A hospital with four patients: three with a radiograph, one with a CT; scanned."""
    home = enrolled_home(folder, dsn)
    write_images(home / "images")
    config = home / "node.toml"
    config.write_text(f"{config.read_text()}\n[review]\n{PAPERS}\n")
    answer(home, "scan")
    return read_settings(config, NodeSettings)


@contextmanager
def opened_room(settings: NodeSettings) -> Iterator[Room]:
    """The reading room of that hospital, its four studies put up for reading."""
    assert settings.review is not None
    with open_room(settings, settings.review) as real:
        ahead_us = [0]
        room = replace(real, hasher=CHEAP, clock_us=lambda: real.clock_us() + ahead_us[0])
        made = Room(room, settings, create_app(furnish(room)), ahead_us)
        open_cases(room, COHORT, Opening(), actor=operator_of(settings, "review"))
        yield made


PAPERS = 'listen = "127.0.0.1:0"\ncertificate = "tls/room.pem"\nkey = "tls/room.key"\n'


def write_images(images: Path) -> None:
    """P1 has an earlier study; P2 a MONOCHROME1 film; P3 a CT of five slices, out of order."""
    for number, patient in enumerate(("PLANTED1", "PLANTED2", "PLANTED4")):
        one = tiny(number, patient=patient)
        if patient == "PLANTED2":
            one.PhotometricInterpretation = "MONOCHROME1"
        write_tiny(images / f"{number}.dcm", one)
    prior = tiny(9, patient="PLANTED1")
    prior.StudyDate = "20220210"
    write_tiny(images / "prior.dcm", prior)
    write_ct(images)
    rows = [
        {"patient_id": f"PLANTED{number}", "label": ("clear", "nodule")[number % 2]}
        for number in (1, 2, 3, 4)
    ]
    write_labels(images, rows)


def write_ct(images: Path) -> None:
    """Five slices, whose file names run against their positions; slice n holds values from n."""
    study, series = generate_uid(), generate_uid()
    for number in range(5):
        one = tiny(number, patient="PLANTED3", study=study, series=series)
        one.SOPClassUID, one.Modality, one.ViewPosition = CTImageStorage, "CT", ""
        one.RescaleSlope, one.RescaleIntercept, one.RescaleType = "1", "-1024", "HU"
        one.WindowCenter, one.WindowWidth = "40", "400"
        one.ImagePositionPatient = [0.0, 0.0, 5.0 * number]
        one.ImageOrientationPatient = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
        one.PixelSpacing = [0.5, 0.5]
        one.PixelData = np.full((64, 64), 1024 + number, np.uint16).tobytes()
        write_tiny(images / f"ct-{9 - number}.dcm", one)
