"""A hospital's `node.toml`.

Read whole by `audit.settings.read_settings` before anything starts. Private keys and images are
named here and never held.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from audit.settings import Address, AuditAddress, ConfigPath, Database, Section, Tls
from hospital_node.imaging.doors.settings import Pacs, Receiver, Watch
from hospital_node.imaging.labels_sr import SrLabels
from hospital_node.imaging.segmentation import SegOutlines
from hospital_node.review.settings import Review
from protocol.record import Digest, Name, Text


class SiteSection(Section):
    """Who this hospital is."""

    name: Name
    """As in the consortium file."""
    organisation: Text
    state: ConfigPath
    """Folder for caches and sockets; losing it loses no record."""


class NodeKeys(Section):
    """Private keys, made here and never sent."""

    event: ConfigPath
    """Signs this hospital's events and ballots."""
    witness: ConfigPath
    """Cosigns checkpoints of the consortium's log."""
    log: ConfigPath
    """Signs checkpoints of the hospital's own log."""
    pseudonym: ConfigPath
    """Turns patient identifiers into pseudonyms."""
    supernode: ConfigPath
    """ECDSA P-384; Flower's own authentication of this node."""


class CentreAddress(Section):
    """Where the centre's door is."""

    fleet: Address


class Images(Section):
    """Where the images are."""

    folder: ConfigPath
    labels: ConfigPath | None = None
    """A CSV with `patient_id` and the label columns; may lie in the folder."""
    label_columns: Annotated[tuple[str, ...], Field(min_length=1)] = ("label",)
    """Columns of it that hold labels; no other column is kept."""
    consent: ConfigPath | None = None
    """A CSV with `patient_id` and `consent`; may lie in the folder."""
    sr: SrLabels | None = None
    """Reports (DICOM SR) as a source of labels, beside the CSV or instead of it."""
    seg: SegOutlines | None = None
    """Segmentations (DICOM SEG) as a source of outlines, beside labels or instead of them."""

    @model_validator(mode="after")
    def _labelled(self) -> Self:
        if self.labels is None and self.sr is None and self.seg is None:
            raise ValueError(
                "nothing says the labels; name a CSV in labels, or add [images.sr] or [images.seg]"
            )
        if self.seg is not None and self.seg.column in self.label_columns:
            raise ValueError(
                f"images.seg.column is {self.seg.column}, which label_columns names too; give "
                "outlines a column of their own"
            )
        rules = self.sr.labels if self.sr else ()
        foreign = sorted({rule.column for rule in rules} - set(self.label_columns))
        if foreign:
            raise ValueError(
                f"images.sr.labels fills {', '.join(foreign)}, which label_columns does not name; "
                "add it there"
            )
        return self


class PolicyFile(Section):
    """What this hospital allows."""

    file: ConfigPath


class Compute(Section):
    """What training may use."""

    threads: Annotated[int, Field(ge=1, le=256)] = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    engine: Literal["loop", "opacus"] = "loop"
    """How a network that is trained whole is differentiated; the result is the same.

    `loop` takes the least memory and any network; `opacus` may be quicker with patients of one
    image."""
    weights: ConfigPath | None = None
    """A folder of weights files that plans may name by their digests."""
    tensor_cache_bytes: Annotated[int, Field(ge=0)] = 20 * 1024**3
    """What decoded images may take of the state folder's disk; 0 keeps none.

    The default holds 200,000 radiographs at 160 px."""


class Flower(Section):
    """How the node's Flower processes reach one another, and what code they may answer for."""

    client_app_api_port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Loopback port between SuperNode and executor; 0 takes a free one."""
    fab_digests: tuple[Digest, ...] = ()
    """Code bundles whose tasks are answered. They are never unpacked."""


class NodeSettings(Section):
    """The whole file."""

    site: SiteSection
    database: Database
    keys: NodeKeys
    tls: Tls
    centre: CentreAddress
    audit: AuditAddress
    consortium: ConfigPath
    """The membership list, agreed out of band."""
    images: Images
    policy: PolicyFile
    compute: Compute = Compute()
    flower: Flower = Flower()
    receiver: Receiver | None = None
    watch: Watch = Watch()
    pacs: Pacs | None = None
    review: Review | None = None
