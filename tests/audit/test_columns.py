"""Packed columns are the arrays that PostgreSQL itself would send."""

import struct

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.ordering.columns import bigints, byteas, smallints, texts

KINDS = {
    "int2": (smallints, st.integers(-(2**15), 2**15 - 1)),
    "int8": (bigints, st.integers(-(2**63), 2**63 - 1)),
    "bytea": (byteas, st.binary(max_size=40)),
    "text": (texts, st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))),
}


@pytest.mark.parametrize("kind", KINDS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_column_arrives_as_it_was(connection, kind, data):
    pack, values = KINDS[kind]
    column = data.draw(st.lists(values, max_size=30))
    row = connection.execute(
        f"SELECT %b::{kind}[], array_send(%t::{kind}[])", [pack(column), column], binary=True
    ).fetchone()
    assert row[0] == column
    assert row[1] == pack(column).packed


@pytest.fixture
def connection(dsn):
    with psycopg.connect(dsn, autocommit=True) as open_one:
        yield open_one


def test_what_does_not_fit_is_refused():
    with pytest.raises(struct.error):
        smallints([2**15])
