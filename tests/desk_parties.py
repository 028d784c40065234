"""A desk over a real log in a real database, with a consortium's story in it, for tests to ask."""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit_story import HOSPITALS, Story
from fastapi.testclient import TestClient
from psycopg_pool import ConnectionPool

from audit import outbox
from audit.app import Parts
from audit.checkpoint import add_cosignatures, cosign
from audit.desk.api_keys import Holder, make_key
from audit.desk.app import create_app
from audit.desk.callers import Role
from audit.desk.desk import Desk
from audit.desk.service import now_us, open_desk
from audit.desk.settings import DeskSettings
from audit.ordering import store
from audit.ordering.terms import Terms
from audit.ordering.watermarks import Mark
from audit.service import run_parts, run_relay
from audit.trust import Trust

ORGANISATION = "Supervisory Authority"


def write_desk_files(folder: Path, story: Story, dsn: str, **desk: Any) -> DeskSettings:
    """The audit member's folder, as far as the desk needs it; TLS is not part of it."""
    (folder / "consortium.json").write_bytes(story.consortium_bytes)
    key = folder / "event.key"
    key.touch(mode=0o600)
    key.write_text(story.signers["audit"].private_text() + "\n")
    content = {
        "audit": {"state": "state", "listen": "127.0.0.1:0"},
        "database": {"dsn": dsn},
        "keys": {"log": "log.key", "event": "event.key"},
        "tls": {"ca": "ca.pem", "certificate": "c.pem", "key": "c.key"},
        "consortium": "consortium.json",
        "desk": {"listen": "127.0.0.1:0", "keys": "auditors.json", **desk},
    }
    return DeskSettings.model_validate(content, context={"folder": folder})


def new_key(path: Path, role: Role = Role.AUDITOR, expires_us: int | None = None) -> str:
    holder = Holder(ORGANISATION, role)
    return make_key(path, holder, expires_us=expires_us, random=secrets.token_bytes)


@dataclass
class Opened:
    """A desk that is open, and the log behind it."""

    desk: Desk
    parts: Parts
    story: Story
    settings: DeskSettings
    client: TestClient
    """Sends an auditor's key with every call."""

    def client_as(self, role: Role) -> TestClient:
        return self.client_with(new_key(self.settings.desk.keys, role))

    def client_with(self, key: str | None) -> TestClient:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return TestClient(create_app(self.desk), headers=headers, raise_server_exceptions=False)

    def get(self, path: str, **parameters: Any) -> Any:
        answer = self.client.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def write(self, entries: list[bytes]) -> None:
        """Put entries into the log and wait until they can be searched."""
        self.parts.sequencer.submit(entries)
        self.settle()

    def settle(self) -> None:
        """Wait until all that was said has been delivered and projected."""
        watermarks = self.parts.sequencer.watermarks
        wait_until(self._is_delivered)
        size = watermarks.size(Mark.SIGNED)
        wait_until(lambda: watermarks.size(Mark.PROJECTED) >= size)

    def cosign(self) -> int:
        """Have every hospital cosign the newest checkpoint; its size."""
        return cosign_all(self.parts, self.story)

    def _is_delivered(self) -> bool:
        producer = self.story.signers["audit"].name
        with self.desk.pool.connection() as connection:
            return not outbox.waiting(connection, "consortium", producer=producer, limit=1)


def cosign_all(parts: Parts, story: Story) -> int:
    watermarks = parts.sequencer.watermarks
    while watermarks.size(Mark.WITNESSED) < watermarks.size(Mark.SIGNED):
        for name in HOSPITALS:
            offer = parts.witnessing.offer(f"demo/{name}/witness", "", wait_s=1)
            assert offer is not None
            line = cosign(offer.note, story.witnesses[name], now_us() // 1_000_000)
            parts.witnessing.cosign(add_cosignatures(offer.note, [line]))
    return watermarks.size(Mark.WITNESSED)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "not within 20 s"
        time.sleep(0.01)


def terms_of(story: Story, clock_us: Callable[[], int] = now_us) -> Terms:
    membership = Trust.from_json(story.consortium.to_json())
    return Terms(
        signer=story.log,
        producers=membership.producers,
        clock_us=clock_us,
        witnesses=membership.witnesses,
    )


@contextmanager
def opened_desk(dsn: str, story: Story, folder: Path, **desk: Any) -> Iterator[Opened]:
    """A desk over a log that holds the story, cosigned; both run in this process, without TLS."""
    settings = write_desk_files(folder, story, dsn, **desk)
    key = new_key(settings.desk.keys)
    store.prepare(dsn)
    with ConnectionPool(dsn, min_size=1, max_size=10, open=True) as pool:
        with pool.connection() as connection:
            outbox.install(connection)
        with run_parts(pool, terms_of(story), consortium=story.consortium_bytes) as parts:
            for name in HOSPITALS:
                parts.witnessing.offer(f"demo/{name}/witness", "", wait_s=0)
            with run_relay(pool, parts.sequencer):
                made = open_desk(settings, pool)
                headers = {"Authorization": f"Bearer {key}"}
                client = TestClient(create_app(made), headers=headers)
                opened = Opened(made, parts, story, settings, client)
                opened.write(story.entries)
                opened.cosign()
                yield opened
