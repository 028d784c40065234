"""Claims in PostgreSQL: what others hold of this log's key that its database cannot account for.

The one rule: a claim is written once and never taken back; whether it is true is for people and for
`python -m audit verify` to say. Functions take a connection; transactions are their callers'.
"""

import json
from dataclasses import dataclass
from datetime import datetime

import psycopg

from audit.equivocation import Equivocation, Verdict
from audit.note import decode_base64, encode_base64


@dataclass(frozen=True, slots=True)
class Claim:
    """Two checkpoints that contradict each other, as a member reported them."""

    equivocation: Equivocation
    verdict: Verdict
    reporter: str
    """The name in the reporter's certificate."""
    received_at: datetime


def add_claim(
    connection: psycopg.Connection, equivocation: Equivocation, *, verdict: Verdict, reporter: str
) -> None:
    """Keep a claim; the first report of a pair with a verdict counts."""
    connection.execute(
        """
        INSERT INTO audit_equivocation (seen, offered, proof, verdict, reporter)
        VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT DO NOTHING
        """,
        [
            equivocation.seen,
            equivocation.offered,
            json.dumps([encode_base64(part) for part in equivocation.proof]),
            verdict,
            reporter,
        ],
    )


def read_claims(connection: psycopg.Connection) -> list[Claim]:
    """Every claim, in the order they came."""
    rows = connection.execute(
        """
        SELECT seen, offered, proof, verdict, reporter, received_at
        FROM audit_equivocation
        ORDER BY id
        """
    )
    return [
        Claim(
            Equivocation(seen, offered, tuple(map(decode_base64, json.loads(proof)))),
            Verdict(verdict),
            reporter,
            received_at,
        )
        for seen, offered, proof, verdict, reporter, received_at in rows
    ]
