"""Outlines as labels: found in a scan, selected by a plan, bound by a ballot, read as masks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from hospital_home import enrolled_home
from protocol_strategies import a_plan
from pydicom import dcmread
from pydicom.dataset import Dataset
from seg import HEART, LUNG, TABLE, bytes_of, segmentation
from synthetic import file_of, stored_chest
from torso import Protocol, write_series
from training_cases import SeededRandomness, a_mechanism

from audit.settings import read_settings
from hospital_node.imaging.consent import ConsentMode
from hospital_node.imaging.dataset import Found, Kind, Patient, look_up, select
from hospital_node.imaging.errors import EmptyCohortError, PixelsError
from hospital_node.imaging.folder import silent
from hospital_node.imaging.masks import OutlinedImage, read_masks
from hospital_node.imaging.tensors import TensorCache
from hospital_node.intake import scan
from hospital_node.judging.classification import Terms
from hospital_node.judging.comparison import Model, Points
from hospital_node.judging.judgement import Groups, judge_models
from hospital_node.judging.telling import split_counts, told_findings
from hospital_node.settings import NodeSettings
from hospital_node.training.features import FeatureCache, read_kept
from hospital_node.training.release import noised_histograms
from hospital_node.training.train import train_steps
from hospital_node.training.trainable import Way, Workshop
from protocol.catalogue import CATALOGUE, initial_state
from protocol.plan import Cohort, Network, Preprocessing, Task, VolumeGrid

SALT = b"sixteen or more bytes of salt"
WANTED = Preprocessing(size_px=64)


def cohort(*structures: str, modality: str = "DX") -> Cohort:
    return Cohort(
        modality=(modality,),
        label="outlines",
        minimum_patients=1,
        task=Task.SEGMENTATION,
        classes=structures,
    )


@pytest.fixture
def home(tmp_path: Path, dsn: str) -> Path:
    """A hospital without labels, whose people outline lungs and hearts."""
    home = enrolled_home(tmp_path, dsn)
    path = home / "node.toml"
    path.write_text(path.read_text().replace('labels = "images/labels.csv"\n', "") + TABLE)
    return home


@pytest.fixture
def connection(dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def take_in(home: Path) -> dict[str, Any]:
    """What `wardround node scan --json` would print."""
    return scan(read_settings(home / "node.toml", NodeSettings), None, silent)


def box(shape: tuple[int, int], top: int, left: int) -> np.ndarray:
    mask = np.zeros(shape, dtype=np.uint8)
    mask[top : top + 64, left : left + 32] = 1
    return mask


def put_chest(home: Path, patient: str) -> Dataset:
    made = stored_chest(patient_id=patient)
    (home / "images" / f"{patient}.dcm").write_bytes(file_of(made))
    return made


def put(home: Path, name: str, made: Dataset) -> None:
    (home / "images" / name).write_bytes(bytes_of(made))


def both(image: Dataset) -> np.ndarray:
    """A lung and a heart, shape (1, H, W, 2)."""
    shape = (image.Rows, image.Columns)
    return np.stack([box(shape, 32, 16), box(shape, 96, 128)], axis=-1)[None]


def found(connection: psycopg.Connection, asked: Cohort, kind: Kind = Kind.PICTURES) -> Found:
    return look_up(connection, asked, mode=ConsentMode.OPT_OUT, kind=kind)


def patients(connection: psycopg.Connection, asked: Cohort) -> list[Patient]:
    both = found(connection, asked)
    return [*both.train, *both.held_out]


def masks_of(patient: Patient, folder: Path, *structures: str) -> np.ndarray:
    outlined = OutlinedImage(patient.images[0], patient.outlines[0])
    tensors = TensorCache(folder, limit_bytes=10**7)
    return read_masks(outlined, structures, preprocessing=WANTED, tensors=tensors)


def test_one_scan_finds_images_and_what_is_outlined_in_them(
    home: Path, connection: psycopg.Connection
) -> None:
    chest = put_chest(home, "P1")
    put(home, "a.dcm", segmentation([chest], both(chest), (LUNG, HEART)))
    scanned = take_in(home)
    assert scanned["outlines"] == {"taken": 1, "unknown_segments": 0, "refused": []}
    assert (scanned["indexed"], scanned["quarantined"]) == (1, 0)
    (patient,) = patients(connection, cohort("heart", "lung"))
    masks = masks_of(patient, home / "tensors", "heart", "lung")
    assert masks.shape == (2, 64, 64)
    assert masks.dtype == np.uint8
    lung, heart = np.zeros((2, 64, 64), dtype=np.uint8)
    lung[8:24, 4:12] = 1
    heart[24:40, 32:40] = 1
    assert np.array_equal(masks[0], heart)
    assert np.array_equal(masks[1], lung)
    again = take_in(home)
    assert (again["read"], again["unchanged"]) == (0, 1)


def test_an_image_counts_where_its_own_outlines_say_all_that_is_asked(
    home: Path, connection: psycopg.Connection
) -> None:
    chests = {name: put_chest(home, name) for name in ("P1", "P2", "P3", "P4")}
    two_files = chests["P1"]
    put(home, "1a.dcm", segmentation([two_files], both(two_files)[..., :1]))
    put(home, "1b.dcm", segmentation([two_files], both(two_files)[..., 1:], (HEART,)))
    lung_only = chests["P2"]
    put(home, "2.dcm", segmentation([lung_only], both(lung_only)[..., :1]))
    of_another = segmentation([chests["P3"]], both(chests["P3"])[..., :1], PatientID="P1")
    put(home, "3.dcm", of_another)
    elsewhere = stored_chest(patient_id="P4")
    elsewhere.Rows, elsewhere.PixelData = 128, elsewhere.PixelData[: 128 * 256 * 2]
    put(home, "4.dcm", segmentation([elsewhere], both(elsewhere)[..., :1]))
    assert take_in(home)["reasons"] == {"patient-conflict": 1}
    assert len(patients(connection, cohort("lung"))) == 2  # P4's are drawn on another grid
    (patient,) = patients(connection, cohort("heart", "lung"))
    masks = masks_of(patient, home / "tensors", "heart", "lung")
    assert masks.sum(axis=(1, 2)).tolist() == [128, 128]
    with pytest.raises(EmptyCohortError):
        patients(connection, cohort("liver"))
    put(home, "1c.dcm", segmentation([two_files], both(two_files)[..., 1:]))  # a second lung
    assert take_in(home)["reasons"] == {"label-conflict": 1, "patient-conflict": 1}


def test_a_ballot_binds_the_outlines_and_nothing_else_is_read(
    home: Path, connection: psycopg.Connection
) -> None:
    chest = put_chest(home, "P1")
    put(home, "a.dcm", segmentation([chest], both(chest), (LUNG, HEART)))
    take_in(home)
    before = select(connection, cohort("lung"), salt=SALT)
    put(home, "a.dcm", segmentation([chest], both(chest)[:, ::-1], (LUNG, HEART)))
    (patient,) = (*before.train, *before.held_out)
    with pytest.raises(PixelsError, match="changed"):
        masks_of(patient, home / "tensors", "lung")
    take_in(home)
    assert select(connection, cohort("lung"), salt=SALT).manifest != before.manifest


def test_the_slices_of_a_series_get_their_own_outlines(
    home: Path, connection: psycopg.Connection
) -> None:
    protocol = Protocol(matrix_px=32, slices=8)
    slices = [dcmread(one) for one in write_series(home / "images", protocol, (), patient="P1")]
    masks = np.zeros((8, 32, 32, 1), dtype=np.uint8)
    masks[1:4, 8:16, 4:28] = 1
    put(home, "seg.dcm", segmentation(slices, masks))
    assert take_in(home)["indexed"] == 8
    both = found(connection, cohort("lung", modality="CT"), Kind.VOLUMES)
    (patient,) = [*both.train, *both.held_out]
    grid = VolumeGrid(size_voxels=(8, 32, 32), lower="-1000", upper="400")
    read = read_masks(
        OutlinedImage(patient.images[0], patient.outlines[0]),
        ("lung",),
        preprocessing=Preprocessing(size_px=32, volume=grid),
        tensors=TensorCache(home / "tensors", limit_bytes=0),
    )
    expected = np.zeros((1, 8, 32, 32), dtype=np.uint8)
    expected[0, 1:4, 8:16, 4:28] = (
        1  # slices run to the head, rows to the back, columns to the left
    )
    assert np.array_equal(read, expected)


def test_an_object_that_is_not_sound_waits_with_a_reason(home: Path) -> None:
    chest = put_chest(home, "P1")
    made = segmentation([chest], both(chest), (LUNG, HEART), SegmentationType="FRACTIONAL")
    put(home, "a.dcm", made)
    scanned = take_in(home)
    (refused,) = scanned["outlines"]["refused"]
    assert (refused["file"], refused["reason"]) == ("a.dcm", "outline-not-binary")
    assert "BINARY" in refused["explanation"]
    assert scanned["reasons"] == {"no-label": 1, "no-outlines": 1}
    waiting = {one["file"]: one["explanation"] for one in scanned["files"] if "reason" in one}
    assert "outline-not-binary" in waiting["a.dcm"]


def test_a_segmentation_is_no_image_where_outlines_are_not_wanted(home: Path) -> None:
    path = home / "node.toml"
    path.write_text(
        path.read_text().replace(TABLE, "").replace("[images]\n", '[images]\nlabels = "all.csv"\n')
    )
    (home / "all.csv").write_text("patient_id,label\nP1,opacity\n")
    chest = put_chest(home, "P1")
    put(home, "a.dcm", segmentation([chest], both(chest), (LUNG, HEART)))
    scanned = take_in(home)
    assert (scanned["indexed"], scanned["reasons"]) == (1, {"no-outlines": 1})


def test_from_files_to_a_step_and_what_may_be_told_of_it(
    home: Path, connection: psycopg.Connection
) -> None:
    for number in range(3):
        chest = put_chest(home, f"P{number}")
        put(home, f"seg{number}.dcm", segmentation([chest], both(chest), (LUNG, HEART)))
    take_in(home)
    card = CATALOGUE["unet-2d"]
    plan = a_plan(
        network=Network(name=card.name, weights_digest=card.weights_digest, classes=2),
        cohort=cohort("heart", "lung"),
        preprocessing=Preprocessing(size_px=32),
    )
    tensors = TensorCache(home / "tensors", limit_bytes=10**8)
    features = FeatureCache(home / "features", read=read_kept(tensors), device="cpu")
    workshop = Workshop(features, tensors, device="cpu", way=Way.LOOP)
    workshop.check(plan)
    everybody = found(connection, plan.cohort)
    examples = workshop.examples((*everybody.train, *everybody.held_out), plan)
    mechanism = a_mechanism(sample_rate=1.0, expected_patients=3, steps=1)
    start = initial_state(plan.network)
    coins = SeededRandomness(0)
    engine = workshop.engine(plan, examples)
    change = train_steps(plan, engine, mechanism=mechanism, start=start, randomness=coins)
    assert np.isfinite(change).all()
    assert change.any()
    judged = judge_models(
        plan,
        Groups(examples, examples),
        {Model.SHARED: start + change, Model.ALONE: start},
        strata={},
        terms=Terms(Points((), (), least=1), smallest_group=1, seed=0),
    )
    assert [one["name"] for one in judged.report["structures"]] == ["heart", "lung"]
    assert judged.report["structures"][0]["local"] == [0.0, 0.0, 0.0]  # zeros find nothing
    assert judged.report["better"] == "cannot be told"  # of three patients
    told = told_findings(plan.cohort, ())
    histograms = noised_histograms(told.of(judged.cells), noise_multiplier=1e-9, randomness=coins)
    assert histograms.sum(axis=1).tolist() == [3, 3]
    assert split_counts(histograms)[0] == ()
    assert float(told.sensitivity) == pytest.approx(2**0.5, abs=1e-6)
