"""Tables `[receiver]`, `[watch]` and `[pacs]` of `node.toml`: who may come in, what is fetched.

The one rule: nobody is let in who is not named. Paths are relative to the file.
"""

from datetime import date
from ipaddress import ip_address
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from audit.settings import Address, ConfigPath, Section, Tls

AeTitle = Annotated[str, Field(pattern=r"^[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?$")]
"""PS3.5 §6.2: at most 16 printable characters, no backslash; blanks at the ends do not count."""

Code = Annotated[str, Field(pattern=r"^[A-Z0-9 _]{1,16}$")]
"""A DICOM code string."""

DEFAULT_TITLE = "WARDROUND"
"""Our AE title, where the settings do not name another."""

_HOURS = r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$"


class Caller(Section):
    """One system that may send to us."""

    ae_title: AeTitle
    hosts: tuple[str, ...] = ()
    """IP addresses it may come from; none named, any."""
    address: Address | None = None
    """Where it wants to be told about storage commitment; without it, on its own association."""


class Receiver(Section):
    """The door that the hospital's systems send images to (C-STORE SCP)."""

    listen: Address = "127.0.0.1:11112"
    ae_title: AeTitle = DEFAULT_TITLE
    callers: Annotated[tuple[Caller, ...], Field(min_length=1)]
    """Whoever is not here is rejected."""
    inbox: ConfigPath | None = None
    """Below `images.folder`; `received` in it, unless it is named."""
    tls: Tls | None = None
    """The certificate we show, and the authority whose certificates we ask for; none, no TLS."""
    max_associations: Annotated[int, Field(ge=1, le=256)] = 10
    max_pdu_bytes: Annotated[int, Field(ge=4_096, le=1_048_576)] = 131_072
    idle_s: Annotated[int, Field(ge=1, le=3_600)] = 60
    """An association that says nothing for so long is ended."""
    floor_mb: Annotated[int, Field(ge=0)] = 2_048
    """Room that stays free on the disk; below it every store is refused (0xA700)."""


class Watch(Section):
    """How the folder of images is watched for files that others put there."""

    every_s: Annotated[int, Field(ge=1, le=86_400)] = 30
    settle_s: Annotated[int, Field(ge=1, le=3_600)] = 10
    """A file is complete when size and time have stood still for so long."""


class Pull(Section):
    """What to fetch: a cohort's criteria as a PACS understands them."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
    modalities: Annotated[tuple[Code, ...], Field(min_length=1)]
    since: date
    until: date | None = None
    """Included; without it, until today."""
    body_parts: tuple[Code, ...] = ()
    """Series of others are not fetched; none named, any. Where the PACS does not say, they are."""

    @model_validator(mode="after")
    def _dates_in_order(self) -> Self:
        if self.until is not None and self.until < self.since:
            raise ValueError("until is before since; exchange them")
        return self


class Schedule(Section):
    """When and how fast the PACS is asked, so that it has its strength for the wards."""

    hours: Annotated[str, Field(pattern=_HOURS)] = "00:00-00:00"
    """Local time; `20:00-06:00` goes over midnight, and equal ends mean the whole day."""
    studies_per_hour: Annotated[int, Field(ge=1, le=100_000)] = 120
    slow_s: Annotated[float, Field(gt=0, le=600)] = 5.0
    """A PACS that needs longer for an answer to a query is busy."""
    pause_s: Annotated[int, Field(ge=1, le=86_400)] = 600
    """How long a busy PACS is left alone."""


def _is_root(url: str) -> str:
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "it holds a user or a password; put user:password into a file and name that in password"
        )
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("expected a service root such as https://pacs.example.org/dicom-web")
    return url


class Web(Section):
    """DICOMweb instead of C-FIND and C-MOVE."""

    url: Annotated[str, AfterValidator(_is_root)]
    """The service root, for example `https://pacs.example.org/dicom-web`."""
    ca: ConfigPath | None = None
    """The authority whose certificates are believed; none named, those that this machine knows."""
    certificate: ConfigPath | None = None
    """What we show to a PACS that asks for a certificate."""
    key: ConfigPath | None = None
    token: ConfigPath | None = None
    """File with a bearer token, for this account alone."""
    password: ConfigPath | None = None
    """File with a line `user:password`, for this account alone."""

    @property
    def root(self) -> str:
        """The URL without a slash at its end."""
        return self.url.rstrip("/")

    @property
    def host(self) -> str:
        """The host of the URL."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The port of the URL, or that of its scheme."""
        return urlsplit(self.url).port or (443 if self.is_secure else 80)

    @property
    def is_secure(self) -> bool:
        """Whether it is spoken to by TLS."""
        return self.url.startswith("https:")

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if self.token and self.password:
            raise ValueError("token and password are both set; keep the one that the PACS asks for")
        if self.is_secure:
            return self
        if self.ca or self.certificate or self.key:
            raise ValueError("ca, certificate and key are for https, and url is http; write https")
        if (self.token or self.password) and not _is_loopback(self.host):
            raise ValueError(
                "url is http, so the token or password would cross the network for all to read; "
                "write https, or have the PACS's staff open it"
            )
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Pacs(Section):
    """The hospital's PACS, from which images are fetched."""

    address: Address | None = None
    """Of its DICOM port, for C-MOVE and C-GET."""
    ae_title: AeTitle | None = None
    retrieve: Literal["move", "get", "web"] = "move"
    """C-MOVE to our receiver, C-GET on our own association, or DICOMweb."""
    tls: Tls | None = None
    timeout_s: Annotated[int, Field(ge=1, le=600)] = 30
    web: Web | None = None
    schedule: Schedule = Schedule()
    pulls: tuple[Pull, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.retrieve == "web" and self.web is None:
            raise ValueError("retrieve is web and there is no [pacs.web]; add it")
        if self.retrieve != "web" and (self.address is None or self.ae_title is None):
            raise ValueError(
                f"retrieve is {self.retrieve}, and address or ae_title is missing; add them, or "
                "set retrieve to web"
            )
        names = [pull.name for pull in self.pulls]
        if len(set(names)) < len(names):
            raise ValueError("two pulls have one name; give each its own")
        return self
