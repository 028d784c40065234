"""Names made by chance: of accounts, sessions and cases.

The one rule: they say nothing about what they name, and cannot be guessed from one another.
"""

import base64
import secrets


def random_name() -> str:
    """16 characters of 80 random bits."""
    return base64.b32encode(secrets.token_bytes(10)).decode().lower()


def random_case_number() -> str:
    """A case number that can be said aloud: `K7QP-M4XD`, of 40 random bits."""
    letters = base64.b32encode(secrets.token_bytes(5)).decode()
    return f"{letters[:4]}-{letters[4:]}"
