"""A hospital with a receiver: its settings, the real process, and small instances to send it."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid
from synthetic import write_labels

from audit.settings import Tls, read_settings
from deploy.certificates import Authority, make_request
from deploy.enrolment import Party, enrol
from deploy.provision import Addresses, admit, found_consortium, node_settings, toml_text
from hospital_node.settings import NodeSettings
from protocol.ballot import Rule
from protocol.consortium import Role

CALLER = "ARCHIVE"
OURS = "WARDROUND"
_START_S = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tiny(number: int = 0, *, patient: str = "P1", study: str = "", series: str = "") -> Dataset:
    """A sound radiograph of 64 x 64 pixels; its UIDs are new each time."""
    made = Dataset()
    made.SOPClassUID = ComputedRadiographyImageStorage
    made.SOPInstanceUID = generate_uid()
    made.StudyInstanceUID = study or generate_uid()
    made.SeriesInstanceUID = series or generate_uid()
    made.PatientID, made.PatientName = patient, "PLANTED^Patricia"
    made.AccessionNumber, made.StudyID, made.SeriesNumber = "ACC4711", "1", "1"
    made.InstanceNumber = str(number + 1)
    made.StudyDate, made.StudyTime = "20240305", "101500"
    made.Modality, made.BodyPartExamined, made.ViewPosition = "CR", "CHEST", "PA"
    made.BurnedInAnnotation = "NO"
    made.PatientBirthDate, made.PatientSex = "19700101", "F"
    made.Rows = made.Columns = 64
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, 0
    made.WindowCenter, made.WindowWidth = "2048", "4096"
    pixels = np.random.default_rng(number).integers(0, 4096, (64, 64), dtype=np.uint16)
    made.PixelData = pixels.tobytes()
    made["PixelData"].VR = "OW"
    return made


def write_tiny(path: Path, instance: Dataset) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    instance.file_meta = meta_of(instance)
    instance.save_as(path, enforce_file_format=True)
    return path


def meta_of(instance: Dataset) -> FileMetaDataset:
    """File meta information of an uncompressed instance."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = instance.SOPClassUID
    meta.MediaStorageSOPInstanceUID = instance.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return meta


@dataclass
class Site:
    """One hospital's folder, with everything the receiver needs."""

    folder: Path
    dsn: str
    port: int = field(default_factory=free_port)

    @property
    def config(self) -> Path:
        return self.folder / "node.toml"

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def inbox(self) -> Path:
        return self.images / "received"

    @property
    def journal(self) -> Path:
        return self.folder / "receiver.log"

    def settings(self) -> NodeSettings:
        return read_settings(self.config, NodeSettings)

    def configure(self, extra: str = "", *, receiver: str | None = None) -> None:
        """Write node.toml; `receiver` takes the place of the usual table."""
        table = receiver or (
            f'[receiver]\nlisten = "127.0.0.1:{self.port}"\nfloor_mb = 16\n'
            f'callers = [{{ ae_title = "{CALLER}" }}]\n'
        )
        watch = "[watch]\nevery_s = 1\nsettle_s = 1\n"
        self.config.write_text(f"{self._usual}\n{table}\n{watch}\n{extra}\n")

    def found(self) -> None:
        """Make keys, certificates and the consortium record."""
        roles = {"audit": Role.AUDIT, "centre": Role.CENTRE, "north": Role.HOSPITAL}
        folders = {name: self.folder.parent / f"{self.folder.name}-{name}" for name in roles}
        folders["north"] = self.folder
        enrolments = {
            name: enrol(folders[name], Party("test", name, role, f"The {name}", ("localhost",)))
            for name, role in roles.items()
        }
        consortium = found_consortium(enrolments.values(), rule=Rule(approvals=1), witness_quorum=1)
        now = datetime.now(UTC)
        authority = Authority.create(self.folder.parent / "authority", consortium="test", now=now)
        north = enrolments["north"]
        admit(self.folder, north, consortium=consortium, authority=authority, now=now)
        addresses = Addresses("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", 4)
        table = node_settings(north, addresses, self.dsn, bundle_digest=f"sha256:{'0' * 64}")
        self._usual = toml_text(table)
        self.images.mkdir()
        write_labels(self.images, [{"patient_id": f"P{n}", "label": "clear"} for n in range(1, 10)])

    def kept(self) -> dict[str, Path]:
        """SOPInstanceUIDs that lie in the inbox."""
        paths = [path for path in self.inbox.rglob("*.dcm") if ".partial" not in path.parts]
        return {str(dcmread(path).SOPInstanceUID): path for path in paths}

    def lines(self) -> list[dict[str, Any]]:
        """The journal."""
        return [json.loads(line) for line in self.journal.read_text().splitlines()]


@contextmanager
def receiver(site: Site) -> Iterator[subprocess.Popen[bytes]]:
    """The real process, which listens; killed at the end where it still runs."""
    with site.journal.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "hospital_node.receiver", "--config", str(site.config)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(os.environ),
        )
    try:
        await_port(site.port, process)
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()


def await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise AssertionError(f"it ended with {process.returncode} before it listened")
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("it does not listen")


def lay_papers(folder: Path) -> dict[str, Tls]:
    """Certificates of `node` and `archive` by the hospital's authority, `stranger` by another."""
    now = datetime.now(UTC)
    authorities = {
        whose: Authority.create(folder / whose, consortium=whose, now=now)
        for whose in ("hospital", "foreign")
    }
    made = {}
    for whose, name in (("hospital", "node"), ("hospital", "archive"), ("foreign", "stranger")):
        place = folder / name
        place.mkdir()
        made[name] = Tls(
            ca=folder / whose / "ca.pem",
            certificate=place / "certificate.pem",
            key=place / "key.pem",
        )
        request = make_request(made[name].key, name=name, organisation=name, hosts=("localhost",))
        made[name].certificate.write_text(authorities[whose].issue(request, name=name, now=now))
    return made


def await_true(what: Any, *, patience_s: float = 60.0) -> None:
    end = time.monotonic() + patience_s
    while not what():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.05)


def storescu(port: int, folder: Path, *options: str) -> Sequence[str]:
    return [
        *("storescu", "-v", "+sd", "-aet", CALLER, "-aec", OURS, *options),
        *("127.0.0.1", str(port), str(folder)),
    ]
