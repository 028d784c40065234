"""`node.toml`: read whole, faults named by setting."""

from pathlib import Path

import pytest

from audit.settings import SettingsError, read_settings
from hospital_node.settings import NodeSettings

FILE = """
consortium = "consortium.json"
[site]
name = "north"
organisation = "North General"
state = "state"
[database]
dsn = "postgresql:///north"
[keys]
event = "keys/event.key"
witness = "keys/witness.key"
log = "keys/log.key"
pseudonym = "keys/pseudonym.key"
supernode = "keys/supernode.key"
[tls]
ca = "tls/ca.pem"
certificate = "tls/certificate.pem"
key = "keys/tls.key"
[centre]
fleet = "centre.example:9443"
[audit]
url = "https://log.example:8443"
[images]
folder = "images"
labels = "images/labels.csv"
[policy]
file = "/etc/wardround/policy.toml"
"""


def read(folder: Path, text: str) -> NodeSettings:
    path = folder / "node.toml"
    path.write_text(text)
    return read_settings(path, NodeSettings)


def test_paths_are_beside_the_file_unless_absolute(tmp_path: Path) -> None:
    settings = read(tmp_path, FILE)
    assert settings.keys.event == tmp_path / "keys/event.key"
    assert settings.policy.file == Path("/etc/wardround/policy.toml")
    assert settings.compute.threads == 1
    assert settings.flower.fab_digests == ()


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('name = "north"', 'name = "North!"', "site.name"),
        ('fleet = "centre.example:9443"', 'fleet = "centre.example"', "centre.fleet"),
        ('url = "https://log.example:8443"', 'url = "http://log.example"', "audit.url"),
        ('dsn = "postgresql:///north"', "", "database.dsn"),
        ("[policy]", "[compute]\nthreads = 0\n[policy]", "compute.threads"),
        ("[policy]", "[surprise]\n[policy]", "surprise"),
    ],
)
def test_a_fault_names_its_setting(tmp_path: Path, old: str, new: str, named: str) -> None:
    assert old in FILE
    with pytest.raises(SettingsError, match=named):
        read(tmp_path, FILE.replace(old, new))
