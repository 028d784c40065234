"""A records officer's way to the desk over HTTPS, for the command line.

The one rule: the key travels in a header to an address whose certificate was verified, and nowhere
else. It knows paths and not what they mean.
"""

import ssl
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from audit.desk.client import check_address
from audit.errors import AuditError
from audit.problems import from_problem
from audit.refusal import LogUnavailableError
from audit.settings import SettingsError

_ANSWER_S = 30.0


class DeskClient:
    """One officer's connection to a desk."""

    def __init__(self, url: str, key: str, *, ca: Path | None) -> None:
        self._http = httpx.Client(
            base_url=check_address(url),
            headers={"Authorization": f"Bearer {key}"},
            verify=_context(ca),
            timeout=_ANSWER_S,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def get(self, path: str, **parameters: str | int) -> Any:
        """What the desk answers to a question.

        Raises:
            AuditError: it refuses, for the reason that is said.
        """
        return self._ask("GET", path, params=parameters)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """What the desk answers to a request.

        Raises:
            AuditError: it refuses, for the reason that is said.
        """
        return self._ask("POST", path, json=body)

    def _ask(self, method: str, path: str, **parts: Any) -> Any:
        try:
            answer = self._http.request(method, path, **parts)
            content = answer.json()
        except httpx.RequestError as cause:
            raise LogUnavailableError(
                f"the desk at {self._http.base_url} cannot be reached: {cause}; "
                "see desk.listen in audit.toml, and --ca for whom to believe"
            ) from cause
        except ValueError as cause:
            raise AuditError("what answered is no desk; see --desk") from cause
        if answer.is_success:
            return content
        raise from_problem(answer.status_code, content if isinstance(content, dict) else {})


def _context(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as cause:
        raise SettingsError(f"--ca = {ca}: cannot be loaded: {cause}") from cause
