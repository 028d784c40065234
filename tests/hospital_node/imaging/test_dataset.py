import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import KEY, small_hospital, write_labels

from hospital_node.imaging import index
from hospital_node.imaging.answers import deal_partition
from hospital_node.imaging.dataset import commit, read_pixels, select
from hospital_node.imaging.deidentify import pseudonym
from hospital_node.imaging.errors import EmptyCohortError, OneClassError, PixelsError
from hospital_node.imaging.index import Labelled
from hospital_node.imaging.ingest import Source, ingest_folder
from hospital_node.imaging.reader import Limits
from protocol.budget import Partition
from protocol.plan import Cohort

SALT = b"sixteen or more bytes of salt"


@pytest.fixture
def connection(dsn):
    with psycopg.connect(dsn, autocommit=True) as connection:
        index.prepare(connection)
        yield connection


def cohort(**changes) -> Cohort:
    asked = {"modality": ("DX",), "label": "label", "positive": "opacity", "minimum_patients": 1}
    return Cohort(**(asked | changes))


def scanned(connection, folder, rows) -> None:
    write_labels(folder, rows)
    source = Source(folder, folder / "labels.csv")
    ingest_folder(connection, source, key=KEY, limits=Limits(readers=1))


@pytest.fixture
def hospital(connection, tmp_path):
    rows = small_hospital(tmp_path)
    rows = [row | {"split": "test" if row["patient_id"] == "P3" else "train"} for row in rows]
    scanned(connection, tmp_path, rows)
    return rows


def test_patients_come_with_label_partition_and_all_their_images(connection, hospital):
    selection = select(connection, cohort(), salt=SALT)
    assert {p.pseudonym: p.label for p in selection.train} == {
        pseudonym(KEY, f"P{n}"): n % 2 for n in range(3)
    }
    assert [p.pseudonym for p in selection.held_out] == [pseudonym(KEY, "P3")]
    assert all(len(p.images) == 2 for p in selection.train + selection.held_out)
    assert list(selection.train) == sorted(selection.train, key=lambda p: p.pseudonym)


def test_one_positive_image_makes_a_positive_patient(connection, tmp_path):
    rows = small_hospital(tmp_path)
    rows[0]["label"] = "opacity"
    scanned(connection, tmp_path, [row | {"split": "train"} for row in rows])
    labels = {p.pseudonym: p.label for p in select(connection, cohort(), salt=SALT).train}
    assert labels[pseudonym(KEY, "P0")] == 1
    assert labels[pseudonym(KEY, "P2")] == 0


def test_a_cohort_that_nothing_answers_to_says_what_was_sought(connection, hospital):
    with pytest.raises(EmptyCohortError, match="modality MR with a label in column 'label'; 8 "):
        select(connection, cohort(modality=("MR",)), salt=SALT)
    with pytest.raises(EmptyCohortError, match="column 'subtype'"):
        select(connection, cohort(label="subtype"), salt=SALT)


def test_a_hospital_without_one_of_the_classes_is_told(connection, hospital):
    with pytest.raises(OneClassError, match="of 3 training patients 0 carry 'tumour'"):
        select(connection, cohort(positive="tumour"), salt=SALT)


def test_the_manifest_is_the_same_until_the_selection_changes(connection, hospital, tmp_path):
    first = select(connection, cohort(), salt=SALT).manifest
    assert select(connection, cohort(), salt=SALT).manifest == first
    assert select(connection, cohort(), salt=b"another salt, as long").manifest != first
    (tmp_path / "p0-1.dcm").unlink()
    scanned(connection, tmp_path, hospital)
    assert select(connection, cohort(), salt=SALT).manifest != first


IMAGES = [
    Labelled(f"sha256:{n:064x}", f"{n:064x}", Partition.TRAIN, f"{n}.dcm", f"sha256:{n:064x}", "x")
    for n in range(6)
]


@given(st.permutations(IMAGES))
def test_the_commitment_does_not_depend_on_the_order_of_images(images):
    assert commit(images, SALT) == commit(IMAGES, SALT)


@given(st.integers(0, 5), st.sampled_from(["label", "partition", "content_digest", "pseudonym"]))
def test_the_commitment_binds_every_image_and_what_is_said_of_it(number, field):
    other = {"label": "y", "partition": Partition.HELD_OUT}.get(field, "sha256:" + "f" * 64)
    parts = {name: getattr(IMAGES[number], name) for name in Labelled.__slots__}
    changed = [*IMAGES[:number], Labelled(**(parts | {field: other})), *IMAGES[number + 1 :]]
    assert commit(changed, SALT) != commit(IMAGES, SALT)
    assert commit(IMAGES[:number] + IMAGES[number + 1 :], SALT) != commit(IMAGES, SALT)


def test_a_short_salt_is_a_bug_of_the_caller():
    with pytest.raises(ValueError, match="salt has 4 bytes"):
        commit(IMAGES, b"salt")


def test_pixels_are_read_only_from_the_bytes_that_were_indexed(connection, hospital, tmp_path):
    image = select(connection, cohort(), salt=SALT).train[0].images[0]
    assert read_pixels(image).shape == (256, 256)
    image.path.write_bytes(image.path.read_bytes()[:-2] + b"\1\1")
    with pytest.raises(PixelsError, match="has changed since it was indexed") as fault:
        read_pixels(image)
    assert image.path.name not in str(fault.value)
    image.path.unlink()
    with pytest.raises(PixelsError, match="can no longer be read"):
        read_pixels(image)


@given(st.text(max_size=64))
def test_blanks_around_an_identifier_are_not_part_of_it(patient_id):
    assert pseudonym(KEY, f" {patient_id} ") == pseudonym(KEY, patient_id)


def test_without_splits_about_three_patients_of_four_train():
    dealt = [deal_partition(pseudonym(KEY, str(number))) for number in range(2000)]
    assert 0.70 < dealt.count(Partition.TRAIN) / 2000 < 0.80
