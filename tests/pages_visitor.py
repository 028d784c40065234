"""Somebody with a browser at the desk's pages, as far as HTTP goes: cookies and forms."""

import re
from typing import Any

from desk_parties import Opened, new_key
from fastapi.testclient import TestClient

from audit.desk.app import create_app
from audit.desk.callers import Role

ORIGIN = "https://desk.test"
SESSION = "__Host-wardround-session"


class Visitor:
    """Holds cookies, fills in forms."""

    def __init__(self, opened: Opened) -> None:
        self.client = TestClient(
            create_app(opened.desk), base_url=ORIGIN, raise_server_exceptions=False
        )
        self.pseudonym = ""

    @classmethod
    def signed_in(cls, opened: Opened, role: Role = Role.AUDITOR) -> "Visitor":
        visitor = cls(opened)
        assert visitor.sign_in(new_key(opened.settings.desk.keys, role)).status_code == 303
        return visitor

    @property
    def cookie(self) -> str:
        return self.client.cookies[SESSION]

    def sign_in(self, key: str, *, at: str = "/sign-in", origin: str = ORIGIN) -> Any:
        page = self.get(at).text
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
        self.pseudonym = "key." + key.partition(".")[0].removeprefix("wardround-")
        return self.send("/sign-in", {**fields, "key": key}, origin=origin)

    def get(self, path: str, **options: Any) -> Any:
        return self.client.get(path, **options)

    def page(self, path: str) -> str:
        answer = self.get(path)
        assert answer.status_code == 200, (path, answer.status_code, answer.text[-400:])
        return answer.text

    def form_token(self, path: str) -> str:
        return re.search(r'name="form_token" value="([^"]+)"', self.page(path))[1]

    def post(self, path: str, form: dict[str, str]) -> Any:
        return self.send(path, {**form, "form_token": self.form_token("/")}, origin=ORIGIN)

    def send(self, path: str, form: dict[str, str], *, origin: str | None) -> Any:
        headers = {"Origin": origin} if origin else {}
        return self.client.post(path, data=form, headers=headers, follow_redirects=False)
