"""A fault in a configuration file is named by file and setting, and no secret is repeated."""

from pathlib import Path

import pytest

from audit.settings import (
    AuditSettings,
    ClientSettings,
    SettingsError,
    read_settings,
    split_address,
)

WHOLE = """
consortium = "consortium.json"
[audit]
state = "state"
listen = "127.0.0.1:7443"
[database]
dsn = "postgresql://audit:secret@localhost/audit"
[keys]
log = "keys/log.key"
[tls]
ca = "tls/ca.pem"
certificate = "/elsewhere/audit.pem"
key = "tls/audit.key"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "audit.toml"
    path.write_text(text)
    return path


def test_paths_start_at_the_file_and_absolute_ones_stay(tmp_path):
    settings = read_settings(written(tmp_path, WHOLE), AuditSettings)
    assert settings.keys.log == tmp_path / "keys/log.key"
    assert settings.tls.certificate == Path("/elsewhere/audit.pem")


def test_the_environment_takes_the_place_of_the_dsn(tmp_path, monkeypatch):
    monkeypatch.setenv("WARDROUND_DSN", "dbname=other")
    without = WHOLE.replace("[database]", "").replace(
        'dsn = "postgresql://audit:secret@localhost/audit"', ""
    )
    assert read_settings(written(tmp_path, without), AuditSettings).database.dsn == "dbname=other"


@pytest.mark.parametrize(
    ("found", "instead", "named"),
    [
        ('dsn = "postgresql://audit:secret@localhost/audit"', "", "database.dsn"),
        ("127.0.0.1:7443", "7443", "audit.listen"),
        ("127.0.0.1:7443", "127.0.0.1:99999", "audit.listen"),
        ("[keys]", "[keys]\ncolour = 1", "keys.colour"),
        ("[keys]", "[keys", "not TOML"),
        ('dsn = "postgresql', 'dns = "postgresql', "database.dsn"),
    ],
)
def test_a_fault_is_named(tmp_path, found, instead, named, monkeypatch):
    monkeypatch.delenv("WARDROUND_DSN", raising=False)
    with pytest.raises(SettingsError, match=named) as fault:
        read_settings(written(tmp_path, WHOLE.replace(found, instead)), AuditSettings)
    assert "audit.toml" in str(fault.value)
    assert "secret" not in str(fault.value)


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"nowhere\.toml"):
        read_settings(tmp_path / "nowhere.toml", AuditSettings)


def test_any_partys_file_says_where_the_log_is(tmp_path):
    listening = read_settings(written(tmp_path, WHOLE), ClientSettings)
    assert listening.url == "https://127.0.0.1:7443"
    member = WHOLE.replace('listen = "127.0.0.1:7443"', 'url = "https://audit.example:443"')
    assert read_settings(written(tmp_path, member), ClientSettings).url.endswith("example:443")


def test_an_address_is_host_and_port():
    assert split_address("[::1]:80") == ("::1", 80)
    with pytest.raises(ValueError, match="host:port"):
        split_address(":80")
