"""The command line: quick to help, plain about faults, and whole on a machine with one party."""

import csv
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import audit
from deploy.errors import DeployError, ErrandError, ExitCode, ImagesError
from deploy.exits import exit_code_of
from hospital_node.imaging.errors import LabelsError
from services.errors import ConfigurationError

COLUMNS = ("file", "patient_id", "site", "label", "split")


def _run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "deploy", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1", **environment},
        timeout=120,
        check=False,
    )


def _refused(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The one message of a command that was refused."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


def _labels(folder: Path, rows: list[tuple[str, ...]], columns: tuple[str, ...] = COLUMNS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return folder


def _demo(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return _run("demo", "--out", str(tmp_path / "out"), *words)


def test_help_names_every_command_without_loading_any_party() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-P", "-m", "deploy", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    for word in ("demo", "enrol", "found", "doctor", "node", "centre", "audit"):
        assert word in done.stdout
    loaded = {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if "|" in line}
    assert loaded.isdisjoint({"torch", "flwr", "psycopg", "fastapi", "numpy", "pydantic"})


@pytest.mark.parametrize(
    ("party", "words"),
    [
        ("node", ("ingest", "vote", "report", "up")),
        ("centre", ("propose", "run", "up")),
        ("audit", ("export", "status", "up")),
    ],
)
def test_every_party_has_its_commands_and_up_among_them(party: str, words: tuple[str, ...]) -> None:
    done = _run(party, "--help")
    assert done.returncode == 0
    for word in words:
        assert word in done.stdout


def test_a_settings_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "node.toml"
    message = _refused(_run("node", "up", "--config", str(missing)), ExitCode.SETTINGS)
    assert str(missing) in message.replace(" ", "")


def test_a_missing_dsn_is_named_with_both_places_to_set_it(tmp_path: Path) -> None:
    config = tmp_path / "audit.toml"
    config.write_text(
        'consortium = "c"\n[audit]\nstate = "s"\nlisten = "127.0.0.1:1"\n[keys]\nlog = "k"\n'
        '[tls]\nca = "a"\ncertificate = "b"\nkey = "c"\n'
    )
    message = _refused(_run("audit", "up", "--config", str(config)), ExitCode.SETTINGS)
    assert "database" in message
    assert "WARDROUND_DSN" in message


def test_a_taken_port_is_named_with_its_setting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = tmp_path / "audit.toml"
        config.write_text(
            f'consortium = "c"\n[audit]\nstate = "s"\nlisten = "127.0.0.1:{port}"\n'
            '[database]\ndsn = "postgresql://x"\n[keys]\nlog = "k"\n'
            '[tls]\nca = "a"\ncertificate = "b"\nkey = "c"\n'
        )
        message = _refused(_run("audit", "up", "--config", str(config)), ExitCode.SETTINGS)
    assert f"audit.listen = 127.0.0.1:{port}" in message


def test_a_server_that_does_not_answer_is_said_without_its_password(tmp_path: Path) -> None:
    done = _demo(tmp_path, "--dsn", "postgresql://me:s3cret@127.0.0.1:9/postgres")
    message = _refused(done, ExitCode.DATABASE)
    assert "Check the DSN" in message
    assert "s3cret" not in message


def test_a_folder_that_is_not_there_or_empty_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, fault in (("nowhere", "no such folder"), ("empty", "the folder is empty")):
        message = _refused(_demo(tmp_path, "--images", str(tmp_path / name)), ExitCode.IMAGES)
        assert fault in message


def test_a_labels_file_without_a_column_says_which(tmp_path: Path) -> None:
    folder = _labels(
        tmp_path / "i", [("a", "b", "c", "d")], ("file", "patient_id", "site", "split")
    )
    message = _refused(_demo(tmp_path, "--images", str(folder)), ExitCode.IMAGES)
    assert "no column label" in message
    assert "found file, patient_id, site, split" in message


def test_images_that_are_none_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    rows = [(f"{n}.png", f"p{n}", "s", "sick" if n % 2 else "normal", "train") for n in range(9)]
    folder = _labels(tmp_path / "i", rows)
    for n in range(9):
        (folder / f"{n}.png").write_bytes(b"no image")
    message = _refused(_demo(tmp_path, "--images", str(folder)), ExitCode.IMAGES)
    assert "9 of the 9 files" in message


def test_a_single_class_is_refused_by_name(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    rows = [(f"{n}.png", f"p{n}", "s", "normal", "train") for n in range(9)]
    folder = _labels(tmp_path / "i", rows)
    for n in range(9):
        image.new("L", (32, 32), n).save(folder / f"{n}.png")
    message = _refused(_demo(tmp_path, "--images", str(folder)), ExitCode.IMAGES)
    assert "one class alone (normal)" in message


def test_somebody_elses_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    message = _refused(_demo(tmp_path), ExitCode.SETTINGS)
    assert "no demo has written" in message
    assert (tmp_path / "out" / "thesis.txt").read_text() == "mine"


def test_folders_and_sites_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    folder = str(_labels(tmp_path / "i", [("a", "b", "c", "d", "e")]))
    message = _refused(
        _demo(tmp_path, "--images", folder, "--images", folder, "--sites", "5"), ExitCode.SETTINGS
    )
    assert "one folder for each hospital" in message


def test_a_consortium_is_founded_by_hand_with_the_commands(tmp_path: Path) -> None:
    roles = {"audit": "audit", "centre": "centre", "north": "hospital", "south": "hospital"}
    files = []
    for name, role in roles.items():
        words = ("enrol", role, name, str(tmp_path / name), "--consortium", "test")
        done = _run(*words, "--organisation", name.title(), "--host", f"{name}.example.org")
        assert done.returncode == 0, done.stderr
        files.append(str(tmp_path / name / "enrolment.json"))
    done = _run("found", str(tmp_path / "papers"), *files)
    assert done.returncode == 0, done.stderr
    papers = tmp_path / "papers" / "north"
    assert (papers / "consortium.json").exists()
    assert (papers / "tls" / "certificate.pem").exists()
    assert not (papers / "keys").exists()
    assert (tmp_path / "papers/centre/state/nodes/south.pub").exists()
    again = _run("enrol", "hospital", "north", str(tmp_path / "north"), "--consortium", "test",
                 "--organisation", "North")  # fmt: skip
    assert "never overwritten" in _refused(again, ExitCode.SETTINGS)


def test_every_family_of_errors_has_its_exit_code() -> None:
    table: dict[Exception, ExitCode | None] = {
        DeployError("x"): ExitCode.FAULT,
        ImagesError("x"): ExitCode.IMAGES,
        LabelsError("x"): ExitCode.IMAGES,
        ConfigurationError("x"): ExitCode.SETTINGS,
        ErrandError("x", 4): ExitCode.IMAGES,
        ErrandError("x", 99): ExitCode.FAULT,
        RuntimeError("a bug"): None,
    }
    assert {error: exit_code_of(error) for error in table} == table


def test_an_auditors_install_says_what_the_commands_would_need() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-m", "deploy", "--help"],
        env={"PYTHONPATH": str(Path(audit.__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "python -m audit verify" in done.stderr
    assert "Traceback" not in done.stderr
