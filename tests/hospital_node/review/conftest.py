"""A hospital that was scanned once, and a fresh copy of its database for each test."""

import secrets
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from review_room import Room, Visitor, found_ward, opened_room

from deploy.postgres_server import with_database
from hospital_node.review.roles import Role
from hospital_node.settings import NodeSettings


@pytest.fixture(scope="session")
def ward(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> NodeSettings:
    """The hospital; its database is only copied."""
    name = f"ward_{secrets.token_hex(8)}"
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    return found_ward(tmp_path_factory.mktemp("ward"), with_database(postgres, name))


@pytest.fixture
def settings(postgres: str, ward: NodeSettings) -> Iterator[NodeSettings]:
    """The hospital with a database of its own."""
    original = ward.database.dsn
    name = f"room_{secrets.token_hex(8)}"
    with psycopg.connect(original) as connection:
        template = connection.info.dbname
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        database = ward.database.model_copy(update={"dsn": with_database(postgres, name)})
        yield ward.model_copy(update={"database": database})
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def room(settings: NodeSettings) -> Iterator[Room]:
    with opened_room(settings) as room:
        yield room


@pytest.fixture
def ann(room: Room) -> Visitor:
    return room.person("wanda", Role.READER)


@pytest.fixture
def ben(room: Room) -> Visitor:
    return room.person("boris", Role.READER)
