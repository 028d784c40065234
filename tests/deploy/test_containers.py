"""Containers and examples: what the files say exists, and an image holds one party alone."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import audit
from audit.desk.settings import DeskSettings
from audit.note import Algorithm, Verifier
from audit.settings import AuditSettings, read_settings
from audit.witnesses.service import WitnessSettings, read_logs
from hospital_node.policy import Policy
from hospital_node.settings import NodeSettings
from services.coordinator.bundle import fab_digest
from services.settings import CentreSettings

ROOT = Path(audit.__file__).parent.parent
DEPLOY = ROOT / "deploy"
PARTIES = {
    "audit": {"services", "hospital_node"},
    "centre": {"hospital_node"},
    "node": {"services"},
}
"""Each image, and the packages that are taken out of it."""


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("audit", AuditSettings),
        ("audit", DeskSettings),
        ("centre", CentreSettings),
        ("node", NodeSettings),
        ("witness", WitnessSettings),
    ],
)
def test_the_examples_are_read_by_the_parties_own_settings(name: str, model: type) -> None:
    read_settings(DEPLOY / "examples" / f"{name}.toml", model)


def test_every_example_is_one_that_is_tried() -> None:
    names = {path.stem for path in (DEPLOY / "examples").iterdir()}
    assert names == {"audit", "centre", "node", "policy", "witness"}


def test_what_an_example_leaves_out_is_taken_once_it_is_put_in(tmp_path: Path) -> None:
    """Settings behind a number sign; prose behind one has no equals sign and no bracket."""
    text = (DEPLOY / "examples" / "audit.toml").read_text()
    whole = re.sub(r"^# (?=\[|\w+ *= )", "", text, flags=re.MULTILINE)
    path = tmp_path / "audit.toml"
    path.write_text(whole)
    desk = read_settings(path, DeskSettings).desk
    assert desk.oidc is not None
    assert desk.tls is not None
    assert desk.retention is not None
    settings = read_settings(path, AuditSettings)
    assert settings.audit.url
    (witness,) = settings.witnesses
    assert Verifier.from_vkey(witness.vkey).algorithm is Algorithm.COSIGNATURE
    (log,) = read_logs(read_settings(DEPLOY / "examples" / "witness.toml", WitnessSettings))
    assert log.name == "lungs/log"


def test_the_example_policy_is_a_policy_and_the_bundle_is_the_one_we_ship() -> None:
    assert Policy.read(DEPLOY / "examples" / "policy.toml").person_must_approve
    node = read_settings(DEPLOY / "examples" / "node.toml", NodeSettings)
    assert node.flower.fab_digests == (fab_digest(),)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as the images' first stage builds it, from the files that they copy."""
    source = tmp_path_factory.mktemp("source")
    text = (DEPLOY / "node.Dockerfile").read_text()
    for names in re.findall(r"^COPY (.+) \S+$", text.split("FROM")[1], re.MULTILINE):
        for name in names.split():
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, source / name)
    out = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-c",
        f"import setuptools.build_meta as b; b.build_wheel({str(out)!r})",
    ]
    done = subprocess.run(build, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return next(out.glob("*.whl"))


READ = {".py", ".sql", ".html", ".css", ".js", ".json", ".svg", ".toml"}


def test_the_wheel_holds_every_file_that_the_code_reads(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    needed = {
        str(path.relative_to(ROOT))
        for package in ("audit", "deploy/templates", "hospital_node", "protocol", "services")
        for path in (ROOT / package).rglob("*")
        if path.suffix in READ and "__pycache__" not in path.parts
    }
    assert needed - held == set()


@pytest.mark.parametrize("party", sorted(PARTIES))
def test_an_image_starts_its_own_party_and_holds_no_other(
    party: str, wheel: Path, tmp_path: Path
) -> None:
    text = (DEPLOY / f"{party}.Dockerfile").read_text()
    removed = re.search(r"rm -r ([a-z_ ]+) \\", text)
    assert removed is not None
    assert set(removed[1].split()) == PARTIES[party]
    zipfile.ZipFile(wheel).extractall(tmp_path)
    for name in PARTIES[party]:
        shutil.rmtree(tmp_path / name)
    assert f'ENTRYPOINT ["wardround", "{party}"]' in text
    assert _wardround(tmp_path, party, "up", "--help").returncode == 0
    assert _wardround(tmp_path, party, "--help").returncode == 0
    for other in PARTIES[party]:
        word = "node" if other == "hospital_node" else "centre"
        done = _wardround(tmp_path, word, "--help")
        assert done.returncode != 0
        assert "is not installed here" in done.stderr


def _wardround(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command as an image has it: no editable install beside the unpacked wheel."""
    libraries = Path(yaml.__file__).parent.parent
    return subprocess.run(
        [sys.executable, "-S", "-P", "-m", "deploy", *words],
        env={**os.environ, "PYTHONPATH": f"{place}{os.pathsep}{libraries}"},
        capture_output=True,
        text=True,
        cwd=place,
        timeout=60,
        check=False,
    )


def test_the_images_copy_nothing_that_the_repository_does_not_have() -> None:
    for party in PARTIES:
        first = (DEPLOY / f"{party}.Dockerfile").read_text().split("FROM")[1]
        for names in re.findall(r"^COPY (.+) \S+$", first, re.MULTILINE):
            for name in names.split():
                assert (ROOT / name).exists(), name


PUBLISHED = {"audit": ["127.0.0.1:7444:7444"]}
"""People ask at the auditors' desk, from this machine; parties meet inside."""


def test_compose_starts_each_party_once_and_keeps_databases_apart() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for name, service in services.items():
        if name.endswith("-database"):
            owner = name.removesuffix("-database")
            users = [n for n, s in services.items() if f"{owner}-inside" in s["networks"]]
            assert sorted(users) == sorted([owner, name])
            assert service["networks"] == [f"{owner}-inside"]
        else:
            assert (ROOT / "deploy" / service["build"]["dockerfile"].split("/")[1]).exists()
            assert service["read_only"]
            assert service.get("ports", []) == PUBLISHED.get(name, [])


def test_roles_sql_makes_what_the_demo_makes() -> None:
    text = (DEPLOY / "postgres" / "roles.sql").read_text()
    for word in ("NOSUPERUSER", "NOCREATEDB", "NOCREATEROLE", "REVOKE ALL ON DATABASE"):
        assert word in text
