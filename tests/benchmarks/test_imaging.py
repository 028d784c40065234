"""How fast a folder is scanned, cleared and cached, beside a bare loop that decodes the same files.

Compared in one run: `dcmread` and `pixel_array` and no more, in this process, against both passes
of a scan: the first (bounded child, checks, fingerprint, index), the second (de-identification for
trial, search of header and pixels, digest), and an epoch out of the cache. For one core, this
process, its reader and the database's backend are held to one processor together; two readers have
all. What starting a reader costs is told apart: a scan of any length does it once.

Radiographs of 2,048 px square plain and compressed, and small ones of 256, since what a file costs
beside its pixels weighs sixty times more on the small. The load of the machine stands beside; where
others were busy, processor time says more than the clock.
"""

import os
import resource
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psycopg
import pytest
from bars import record
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless
from synthetic import KEY, chest, write_labels

from deploy.postgres_server import with_database
from hospital_node.imaging import index
from hospital_node.imaging.anatomy import resample
from hospital_node.imaging.answers import key_answers
from hospital_node.imaging.dataset import read_pixels
from hospital_node.imaging.fingerprint import Fingerprints, digest_of
from hospital_node.imaging.folder import silent
from hospital_node.imaging.instance import (
    Identity,
    derive_uid,
    new_instance,
    set_pixels,
    write_instance,
)
from hospital_node.imaging.labels import read_table
from hospital_node.imaging.looking import open_desk
from hospital_node.imaging.passes import Work, clear_files, read_files
from hospital_node.imaging.reader import Limits
from hospital_node.imaging.tensors import TensorCache
from hospital_node.imaging.volume import fit
from hospital_node.imaging.volumes import ImageRef
from protocol.plan import Preprocessing

ONE_CORE = 1.5
"""A scan may take so many times the bare loop."""

TWO_READERS = 1.8
"""Two readers are so many times as fast as one, at least."""

DIFFERENT = 4
"""Pictures that differ; the others have their pixels under headers of their own."""

EPOCH = 24
"""Pictures of an epoch: what is prepared for a network costs hundreds of times as much as decoding,
before it is kept."""

DIGITAL_X_RAY = "1.2.840.10008.5.1.4.1.1.1.1"


@dataclass(frozen=True)
class Kind:
    """What a folder is made of."""

    name: str
    edge_px: int
    syntax: str
    count: int


KINDS = (
    Kind("2,048 px plain", 2048, ExplicitVRLittleEndian, 120),
    Kind("2,048 px JPEG 2000 lossless", 2048, JPEG2000Lossless, 12),
    Kind("2,048 px JPEG-LS lossless", 2048, JPEGLSLossless, 24),
    Kind("256 px plain", 256, ExplicitVRLittleEndian, 800),
)


@dataclass
class Spent:
    """What something took: by the clock, and of processors, by us, our children and the backend."""

    clock_s: float = 0.0
    processor_s: float = 0.0


@dataclass
class Bench:
    """A folder, and a database for each scan of it."""

    dsn: str
    folder: Path
    kind: Kind
    paths: list[Path] = field(default_factory=list)

    @property
    def what(self) -> str:
        """What the rows of the table are about."""
        return f"{self.kind.count} of {self.kind.name}"


def pixels_of(seed: int, edge_px: int) -> np.ndarray:
    """A radiograph of 12 bits with the noise of a detector; else it would compress like none."""
    noise = np.random.default_rng(seed).normal(0, 6, (edge_px, edge_px))
    picture = resample(chest(seed), edge_px, edge_px).astype(np.float64)
    spread = (picture - picture.min()) / (np.ptp(picture) or 1)
    return np.clip(spread * 3800 + 150 + noise, 0, 4095).astype(np.uint16)


def write_folder(bench: Bench) -> None:
    kind, rows = bench.kind, []
    for number in range(kind.count):
        uids = (derive_uid(kind.name, part, str(number)) for part in ("study", "series", "image"))
        identity = Identity(f"P{number}", f"BENCH^Number {number}", *uids)
        instance = new_instance(DIGITAL_X_RAY, "DX", identity)
        instance.PhotometricInterpretation, instance.BurnedInAnnotation = "MONOCHROME2", "NO"
        instance.WindowCenter, instance.WindowWidth = "2048", "4096"
        stored = pixels_of(number % DIFFERENT, kind.edge_px)
        set_pixels(instance, stored, bits=12, syntax=ExplicitVRLittleEndian)
        if kind.syntax != ExplicitVRLittleEndian:
            instance.PixelData = coded(number % DIFFERENT, kind)
            instance["PixelData"].VR, instance["PixelData"].is_undefined_length = "OB", True
            instance.file_meta.TransferSyntaxUID = kind.syntax
        bench.paths.append(Path(f"{number:04d}.dcm"))
        write_instance(bench.folder / bench.paths[-1], instance)
        rows.append({"file": bench.paths[-1].name, "patient_id": f"P{number}", "label": "x"})
    write_labels(bench.folder, rows)


_CODED: dict[tuple[int, str], bytes] = {}


def coded(seed: int, kind: Kind) -> bytes:
    if (seed, kind.name) not in _CODED:
        picture = Dataset()
        picture.PhotometricInterpretation, picture.SOPClassUID = "MONOCHROME2", DIGITAL_X_RAY
        picture.SOPInstanceUID = derive_uid(kind.name, str(seed))
        if kind.syntax == JPEG2000Lossless:
            set_pixels(picture, pixels_of(seed, kind.edge_px), bits=12, syntax=kind.syntax)
        else:
            set_pixels(
                picture, pixels_of(seed, kind.edge_px), bits=12, syntax=ExplicitVRLittleEndian
            )
            picture.ensure_file_meta()
            picture.compress(kind.syntax, generate_instance_uid=False)
        _CODED[seed, kind.name] = picture.PixelData
    return _CODED[seed, kind.name]


@contextmanager
def measured(spent: Spent, *others: int) -> Iterator[None]:
    """Add what the block takes; `others` are processes that work for it."""
    used = processor_s(others)
    start = time.perf_counter()
    yield
    spent.clock_s += time.perf_counter() - start
    spent.processor_s += processor_s(others) - used


def processor_s(others: tuple[int, ...]) -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime + sum(used_s(pid) for pid in others)


def used_s(pid: int) -> float:
    """Processor time of another process, in the kernel's ticks."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def one_core(*others: int) -> Iterator[None]:
    """Hold this thread, what it starts, and other processes to one processor."""
    every = os.sched_getaffinity(0)
    pids = (0, *others)
    for pid in pids:
        os.sched_setaffinity(pid, {max(every)})
    try:
        yield
    finally:
        for pid in pids:
            os.sched_setaffinity(pid, every)


def loop(bench: Bench) -> Spent:
    spent = Spent()
    with one_core(), measured(spent), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in bench.paths:
            assert dcmread(bench.folder / path).pixel_array.size
    return spent


@dataclass
class Scanned:
    """What the parts of a scan took."""

    started: Spent = field(default_factory=Spent)
    read: Spent = field(default_factory=Spent)
    cleared: Spent = field(default_factory=Spent)


def scan(bench: Bench, readers: int) -> Scanned:
    name = f"scan_{bench.kind.edge_px}_{readers}_{time.monotonic_ns()}"
    with psycopg.connect(bench.dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    took = Scanned()
    with ExitStack() as stack:
        dsn = with_database(bench.dsn, name)
        connection = stack.enter_context(psycopg.connect(dsn, autocommit=True))
        backend = connection.info.backend_pid
        index.prepare(connection)
        if readers == 1:
            stack.enter_context(one_core(backend))
        answers = key_answers(read_table(bench.folder / "labels.csv"), KEY, ("label",))
        desk = open_desk(bench.folder, Fingerprints(KEY), Limits(readers=readers))
        work = Work(stack.enter_context(desk), KEY, answers)
        with measured(took.started):
            children = tuple(start(reader) for reader in work.desk.readers)
        with measured(took.read, backend, *children):
            read_files(connection, work, bench.paths, progress=silent)
        assert index.count_instances(connection) == 0
        with measured(took.cleared, backend, *children):
            clear_files(connection, work, bench.paths, progress=silent)
        assert index.count_instances(connection) == bench.kind.count
    return took


def start(reader) -> int:
    reader.read(b"")
    return reader._child.pid


def epochs(bench: Bench, cache: Path) -> tuple[Spent, Spent]:
    """Two epochs over the pictures, through the cache of tensors."""
    wanted, kept = Preprocessing(size_px=224), TensorCache(cache, limit_bytes=2**34)
    refs = [
        ImageRef(str(path), bench.folder / path, digest_of((bench.folder / path).read_bytes()))
        for path in bench.paths[:EPOCH]
    ]
    first, second = Spent(), Spent()
    for spent in (first, second):
        with one_core(), measured(spent):
            for ref in refs:
                assert kept.get(ref, wanted, maker(ref, wanted)).size
    assert len(list(cache.iterdir())) == len(refs)
    whole = bench.kind.count / len(refs)
    return tuple(Spent(s.clock_s * whole, s.processor_s * whole) for s in (first, second))


def maker(ref: ImageRef, wanted: Preprocessing) -> Callable[[], np.ndarray]:
    return lambda: fit(read_pixels(ref), wanted)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_scan_beside_a_bare_loop(durable: str, tmp_path: Path, kind: Kind) -> None:
    bench = Bench(durable, tmp_path / "images", kind)
    bench.folder.mkdir()
    write_folder(bench)
    loop(bench)  # from memory from here on, for all
    one, bare, two = scan(bench, 1), loop(bench), scan(bench, 2)
    first, second = epochs(bench, tmp_path / "cache")
    load = os.getloadavg()[0]
    record(
        f"  bare dcmread and decode, one core, {bench.what}", f"{rate(bench, bare)}, {load=:.1f}"
    )
    show(bench, "scan (read and index), one core", one.read, bare, bar=ONE_CORE)
    show(bench, "clear (de-identify and search), one core", one.cleared, bare)
    show(bench, "first epoch (decode, prepare, keep), one core", first, bare)
    show(bench, "second epoch (out of the cache), one core", second, bare)
    for what, alone, both in (("scan", one.read, two.read), ("clear", one.cleared, two.cleared)):
        gain = alone.clock_s / both.clock_s
        record(
            f"  {what}, two readers and all cores ÷ one, {bench.what}",
            f"{gain:.2f} ({rate(bench, both)})",
            bar=f"≥ {TWO_READERS}" if what == "scan" else "",
            is_met=gain >= TWO_READERS if what == "scan" else None,
        )
    record(f"  starting a reader, once a scan, {bench.what}", f"{one.started.clock_s:.2f} s")


def show(bench: Bench, what: str, spent: Spent, bare: Spent, *, bar: float | None = None) -> None:
    ratio, of_processors = spent.clock_s / bare.clock_s, spent.processor_s / bare.processor_s
    record(
        f"{what} ÷ bare loop, {bench.what}",
        f"{ratio:.2f} ({rate(bench, spent)}; of processors {of_processors:.2f})",
        bar="" if bar is None else f"≤ {bar}",
        is_met=None if bar is None else ratio <= bar,
    )


def rate(bench: Bench, spent: Spent) -> str:
    return f"{bench.kind.count / spent.clock_s:,.1f}/s"
