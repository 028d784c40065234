"""A real PACS for tests: Debian's Orthanc on its own ports, installed by apt where we are root."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from dicom_site import OURS, await_port, free_port, meta_of
from pydicom.dataset import Dataset
from pynetdicom import AE

TITLE = "ORTHANC"
_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_PACKAGES = ("orthanc", "orthanc-dicomweb", "dcmtk")


def require() -> str:
    """The program; installed first where that is possible, else the test is skipped, loudly."""
    found = shutil.which("Orthanc", path="/usr/sbin:/usr/bin")
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        words = ["apt-get", "install", "-y", "--no-install-recommends", *_PACKAGES]
        subprocess.run(words, check=False, capture_output=True, timeout=300)
        found = shutil.which("Orthanc", path="/usr/sbin:/usr/bin")
    if found is None:
        pytest.skip(f"LOUD: no real PACS here; apt-get install {' '.join(_PACKAGES)}")
    return found


@dataclass
class Orthanc:
    folder: Path
    dicom: int = field(default_factory=free_port)
    http: int = field(default_factory=free_port)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.dicom}"

    @property
    def web(self) -> str:
        return f"http://127.0.0.1:{self.http}/dicom-web"


@contextmanager
def orthanc(folder: Path, back: int, **changes: Any) -> Iterator[Orthanc]:
    """A PACS that knows us as WARDROUND at 127.0.0.1 and the port `back`, unless told otherwise."""
    program = require()
    made = Orthanc(folder)
    folder.mkdir(parents=True)
    settings = {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomAet": TITLE,
        "DicomPort": made.dicom,
        "DicomCheckCalledAet": True,
        "DicomCheckModalityHost": True,
        "DicomModalities": {"us": [OURS, "127.0.0.1", back]},
        "HttpPort": made.http,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [str(_PLUGIN)],
        "DicomWeb": {"Enable": True},
        **changes,
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, str(folder / "orthanc.json")], stdout=log, stderr=log, cwd=folder
        )
    try:
        await_port(made.http, process)
        await_port(made.dicom, process)
        yield made
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def fill(port: int, instances: Sequence[Dataset]) -> None:
    """Have the PACS at `port` store instances."""
    entity = AE(ae_title=OURS)
    entity.add_requested_context(instances[0].SOPClassUID)
    line = entity.associate("127.0.0.1", port, ae_title=TITLE)
    for one in instances:
        one.file_meta = meta_of(one)
        assert line.send_c_store(one).Status == 0
    line.release()
