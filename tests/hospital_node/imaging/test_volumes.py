"""Volumes from a folder to the network: gathered, committed to, read, or left out by name."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import psycopg
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from structlog.testing import capture_logs
from synthetic import KEY, write_labels
from torso import Nodule, Protocol, draw_slice, write_series

from hospital_node.imaging import index
from hospital_node.imaging.consent import ConsentMode
from hospital_node.imaging.dataset import Kind, commit, kind_of, look_up, recommit, select
from hospital_node.imaging.deidentify import pseudonym
from hospital_node.imaging.errors import EmptyCohortError, PixelsError
from hospital_node.imaging.index import Labelled
from hospital_node.imaging.ingest import Source, ingest_folder
from hospital_node.imaging.reader import Limits
from hospital_node.imaging.series import SeriesFault, SeriesReason
from hospital_node.imaging.tensors import TensorCache
from hospital_node.imaging.volumes import VolumeRef, gather, read_volume
from hospital_node.training.features import read_kept
from protocol.budget import Partition
from protocol.plan import Cohort, Preprocessing, VolumeGrid
from protocol.words import Ground

SALT = b"sixteen or more bytes of salt"
PROTOCOL = Protocol(matrix_px=32, slices=8)
NODULE = Nodule((60.0, -20.0, 30.0), 30.0)
CT = Cohort(modality=("CT",), label="label", positive="nodule", minimum_patients=1)
GRID = VolumeGrid(
    size_voxels=(8, 16, 16), spacing_mm=("20", "20", "20"), lower="-1000", upper="400"
)
WANTED = Preprocessing(size_px=16, volume=GRID)


@pytest.fixture
def connection(dsn):
    with psycopg.connect(dsn, autocommit=True) as connection:
        index.prepare(connection)
        yield connection


def write_multi_frame(path: Path, paths: list[Path]) -> None:
    """One enhanced instance of the slices in `paths`, last slice first."""
    slices = [dcmread(one) for one in reversed(paths)]
    whole = slices[0]
    whole.NumberOfFrames = len(slices)
    whole.PixelData = b"".join(one.PixelData for one in slices)
    whole.PerFrameFunctionalGroupsSequence = [frame_group(one) for one in slices]
    for keyword in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "RescaleSlope",
        "RescaleIntercept",
    ):
        delattr(whole, keyword)
    whole.save_as(path, enforce_file_format=True)


def frame_group(one: Dataset) -> Dataset:
    group = Dataset()
    macros = {
        "PlanePositionSequence": ("ImagePositionPatient",),
        "PlaneOrientationSequence": ("ImageOrientationPatient",),
        "PixelMeasuresSequence": ("PixelSpacing",),
        "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    }
    for name, keywords in macros.items():
        item = Dataset()
        for keyword in keywords:
            setattr(item, keyword, one[keyword].value)
        setattr(group, name, [item])
    return group


@pytest.fixture
def hospital(connection, tmp_path):
    """Two series, one multi-frame image, one series with a gap."""
    folder = tmp_path / "archive"
    for patient, nodules in (("SYN1", ()), ("SYN2", (NODULE,)), ("SYN4", ())):
        paths = write_series(folder / patient, PROTOCOL, nodules, patient=patient)
    paths[3].unlink()
    paths = write_series(tmp_path / "other", PROTOCOL, (NODULE,), patient="SYN3")
    write_multi_frame(folder / "enhanced.dcm", paths)
    rows = [
        {"patient_id": patient, "label": label, "split": "train"}
        for patient, label in (
            ("SYN1", "none"),
            ("SYN2", "nodule"),
            ("SYN3", "nodule"),
            ("SYN4", "none"),
        )
    ]
    write_labels(folder, rows)
    source = Source(folder, folder / "labels.csv")
    report = ingest_folder(connection, source, key=KEY, limits=Limits(readers=1))
    assert report.quarantined == ()
    return folder


def test_what_is_left_after_a_withdrawal_is_committed_as_it_would_be_selected(connection, hospital):
    patient = pseudonym(KEY, "SYN1")
    index.withdraw_patient(connection, patient, ground=Ground.NONE, withdrawn_us=1)
    manifests = {
        kind: recommit(connection, CT, salt=SALT, mode=ConsentMode.OPT_OUT, kind=kind)
        for kind in Kind
    }
    volumes = look_up(connection, CT, mode=ConsentMode.OPT_OUT, kind=Kind.VOLUMES).images
    assert manifests[Kind.VOLUMES] == commit(volumes, SALT)
    assert manifests[Kind.VOLUMES] != manifests[Kind.PICTURES]
    nobody = CT.model_copy(update={"label": "other"})
    mode, kind = ConsentMode.OPT_OUT, Kind.VOLUMES
    assert recommit(connection, nobody, salt=SALT, mode=mode, kind=kind) is None


def test_series_and_multi_frame_images_are_selected_as_one_image_each(connection, hospital):
    selection = select(connection, CT, salt=SALT, kind=Kind.VOLUMES)
    assert len(selection.train) == 3  # without the one whose series has a gap
    assert all(isinstance(ref, VolumeRef) for p in selection.train for ref in p.images)
    counts = sorted(len(ref.slices) for p in selection.train for ref in p.images)
    assert counts == [1, 8, 8]
    assert [len(p.images) for p in selection.train] == [1, 1, 1]


def test_what_is_left_out_is_named(connection, hospital):
    images = index.labelled_images(connection, CT, mode=ConsentMode.OPT_OUT)
    (left,) = gather(images, hospital).left_out
    assert left.images == 7
    assert left.fault == SeriesFault(SeriesReason.GAP, "1 missing at 20.000 mm")


def test_whoever_selects_is_told_what_makes_no_volume_without_a_name(connection, hospital):
    with capture_logs() as said:
        select(connection, CT, salt=SALT, kind=Kind.VOLUMES)
    (line,) = said
    assert line["images"] == 7
    assert line["why"].startswith("slices are missing between others")
    assert "SYN" not in str(said)


def test_a_plan_for_pictures_takes_no_image_of_several_frames(connection, hospital):
    selection = select(connection, CT, salt=SALT)
    assert sorted(len(p.images) for p in selection.train) == [7, 8, 8]


def test_the_manifest_binds_the_slices_of_volumes(connection, hospital):
    pictures = select(connection, CT, salt=SALT)
    volumes = select(connection, CT, salt=SALT, kind=Kind.VOLUMES)
    assert pictures.manifest != volumes.manifest
    assert select(connection, CT, salt=SALT, kind=Kind.VOLUMES).manifest == volumes.manifest
    connection.execute("UPDATE imaging_clearance SET content_digest = %s", ("sha256:" + "0" * 64,))
    assert select(connection, CT, salt=SALT, kind=Kind.VOLUMES).manifest != volumes.manifest


def test_a_volume_is_read_in_order_and_in_its_units_however_it_was_stored(connection, hospital):
    drawn = {
        nodules: np.array([draw_slice(PROTOCOL, number, nodules) for number in range(8)])
        for nodules in ((), (NODULE,))
    }
    selection = select(connection, CT, salt=SALT, kind=Kind.VOLUMES)
    for patient in selection.train:
        (ref,) = patient.images
        volume = read_volume(ref)
        assert np.array_equal(volume.voxels, drawn[(NODULE,) if patient.label else ()])
        assert volume.spacing_mm == pytest.approx(PROTOCOL.spacing_mm, rel=1e-4)


def test_a_changed_slice_is_not_read(connection, hospital):
    selection = select(connection, CT, salt=SALT, kind=Kind.VOLUMES)
    ref = next(p.images[0] for p in selection.train if len(p.images[0].slices) == 8)
    path = ref.slices[4].path
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(PixelsError, match="has changed since it was indexed") as refusal:
        read_volume(ref)
    assert "SYN" not in str(refusal.value)


def test_a_volume_is_decoded_once_and_fed_slice_by_slice(connection, hospital, tmp_path):
    selection = select(connection, CT, salt=SALT, kind=Kind.VOLUMES)
    read = read_kept(TensorCache(tmp_path / "cache", limit_bytes=10**8))
    inputs = [read(patient.images[0], WANTED) for patient in selection.train]
    assert {one.shape for one in inputs} == {(8, 3, 16, 16)}
    for path in hospital.rglob("*.dcm"):
        path.unlink()
    again = [read(patient.images[0], WANTED) for patient in selection.train]
    assert all(np.array_equal(*pair) for pair in zip(inputs, again, strict=True))
    healthy = next(one for one, p in zip(inputs, selection.train, strict=True) if not p.label)
    assert all(
        np.array_equal(one, healthy) == (not patient.label)
        for one, patient in zip(inputs, selection.train, strict=True)
    )


def test_a_hospital_without_volumes_says_so(connection, tmp_path):
    paths = write_series(tmp_path / "SYN1", PROTOCOL, (), patient="SYN1")
    for path in paths[2:]:
        path.unlink()
    write_labels(tmp_path, [{"patient_id": "SYN1", "label": "none"}])
    source = Source(tmp_path, tmp_path / "labels.csv")
    ingest_folder(connection, source, key=KEY, limits=Limits(readers=1))
    with pytest.raises(EmptyCohortError, match="makes a volume"):
        select(connection, CT, salt=SALT, kind=Kind.VOLUMES)


def labelled(number: int, **changes: object) -> Labelled:
    image = Labelled(
        instance=f"i{number}",
        pseudonym="p",
        partition=Partition.TRAIN,
        path=f"{number}.dcm",
        content_digest=f"d{number}",
        label="none",
        series="s",
        rows_px=4,
        columns_px=4,
        spacing_mm=(1.0, 1.0),
        position_mm=(0.0, 0.0, float(number)),
        orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    )
    return replace(image, **changes)


def test_the_digest_of_a_volume_binds_order_and_contents():
    def digest(*images: Labelled) -> str:
        (found, _), *_ = gather(images, Path("x")).volumes
        return found.content_digest

    slices = [labelled(number) for number in range(4)]
    assert digest(*slices) == digest(*reversed(slices))
    swapped = [replace(one, content_digest=f"d{3 - n}") for n, one in enumerate(slices)]
    other = [*slices[:3], replace(slices[3], content_digest="e")]
    assert len({digest(*slices), digest(*swapped), digest(*other)}) == 3


def test_two_patients_or_two_series_are_never_one_volume():
    slices = [labelled(number) for number in range(6)]
    mixed = [replace(one, series=f"s{n % 2}") for n, one in enumerate(slices)]
    assert [len(ref.slices) for ref, _ in gather(mixed, Path()).volumes] == [3, 3]
    mixed = [replace(one, pseudonym=f"p{n % 2}") for n, one in enumerate(slices)]
    assert [len(ref.slices) for ref, _ in gather(mixed, Path()).volumes] == [3, 3]


def test_the_kind_follows_from_the_plan():
    assert kind_of(Preprocessing(size_px=16)) is Kind.PICTURES
    assert kind_of(WANTED) is Kind.VOLUMES
