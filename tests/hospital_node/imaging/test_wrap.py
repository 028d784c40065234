import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom import dcmread
from synthetic import chest, write_labels

from hospital_node.imaging.deidentify import Annotation, may_show_identity
from hospital_node.imaging.errors import FolderError, LabelsError, SourceImageError
from hospital_node.imaging.labels import Table
from hospital_node.imaging.pixels import picture_of
from hospital_node.imaging.reading import Facts, inspect_file
from hospital_node.imaging.wrap import Claims, deal_patients, wrap_folder


def write_source(folder: Path, patients: int = 6, suffix: str = "png") -> list[dict[str, str]]:
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(patients * 2):
        file = f"images/i{number}.{suffix}"
        Image.fromarray((chest(number)[:, :120] * 255).astype(np.uint8)).save(folder / file)
        rows.append(
            {
                "file": file,
                "patient_id": f"P{number // 2}",
                "site": "Somewhere",
                "label": "ill" if number // 2 % 2 else "well",
                "split": "test" if number // 2 >= patients - 2 else "train",
                "view": "AP",
            }
        )
    write_labels(folder, rows)
    return rows


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open() as file:
        return list(csv.DictReader(file))


def test_pixels_and_columns_survive_wrapping(tmp_path):
    rows = write_source(tmp_path / "in")
    (wrapped,) = wrap_folder(tmp_path / "in", [tmp_path / "out"])
    assert (wrapped.patients, wrapped.images) == (6, 12)
    for row, new in zip(rows, rows_of(tmp_path / "out"), strict=True):
        assert {**new, "file": row["file"]} == row
        instance = dcmread(tmp_path / "out" / new["file"])
        source = np.asarray(Image.open(tmp_path / "in" / row["file"]))
        assert np.array_equal(instance.pixel_array, source)
        assert picture_of(instance) == pytest.approx(source / 255, abs=1e-6)
        assert instance.PatientID == row["patient_id"]


def test_the_header_says_what_is_true_and_invents_nothing(tmp_path):
    write_source(tmp_path / "in", 2, "jpeg")
    wrap_folder(tmp_path / "in", [tmp_path / "out"])
    header = dcmread(tmp_path / "out" / "000001.dcm")
    assert (header.Modality, header.ConversionType) == ("CR", "WSD")
    assert header.ImageType == ["DERIVED", "SECONDARY"]
    assert "Converted from JPEG" in header.DerivationDescription
    assert header.LossyImageCompression == "01"
    assert float(header.LossyImageCompressionRatio) > 1
    for keyword in ("PatientName", "PatientBirthDate", "PatientSex", "StudyDate"):
        assert not header[keyword].value
    for keyword in ("PixelSpacing", "BurnedInAnnotation", "InstitutionName", "PatientAge"):
        assert keyword not in header


def test_a_png_is_not_called_lossy(tmp_path):
    write_source(tmp_path / "in", 2)
    wrap_folder(tmp_path / "in", [tmp_path / "out"])
    assert "LossyImageCompression" not in dcmread(tmp_path / "out" / "000001.dcm")


@pytest.mark.parametrize(
    ("claims", "is_kept_out"),
    [
        (Claims("US"), True),
        (Claims("US", Annotation.NONE), False),
        (Claims("DX"), True),
        (Claims("CR"), False),
        (Claims("CR", Annotation.PRESENT), True),
    ],
)
def test_only_who_vouches_gets_captures_past_the_gate(tmp_path, claims, is_kept_out):
    write_source(tmp_path / "in", 2)
    wrap_folder(tmp_path / "in", [tmp_path / "out"], claims=claims)
    facts = inspect_file((tmp_path / "out" / "000001.dcm").read_bytes())
    assert isinstance(facts, Facts)
    kept_out = may_show_identity(
        facts.annotation, modality=facts.modality, sop_class=facts.sop_class
    )
    assert (facts.modality, kept_out) == (claims.modality, is_kept_out)


def test_a_modality_column_counts_more_than_the_claim(tmp_path):
    rows = [row | {"modality": "us"} for row in write_source(tmp_path / "in", 2)]
    write_labels(tmp_path / "in", rows)
    wrap_folder(tmp_path / "in", [tmp_path / "out"])
    assert dcmread(tmp_path / "out" / "000001.dcm").Modality == "US"


def test_wrapping_again_writes_the_same_bytes(tmp_path):
    write_source(tmp_path / "in")
    for name in ("one", "two"):
        wrap_folder(tmp_path / "in", [tmp_path / name])
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_colour_is_reduced_to_grey_and_said(tmp_path):
    write_source(tmp_path / "in", 1)
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    Image.fromarray(red).save(tmp_path / "in/images/i0.png")
    wrap_folder(tmp_path / "in", [tmp_path / "out"])
    instance = dcmread(tmp_path / "out" / "000001.dcm")
    assert "RGB reduced to grey" in instance.DerivationDescription
    assert set(np.unique(instance.pixel_array)) == {76}


def test_several_hospitals_get_whole_patients_and_all_images(tmp_path):
    rows = write_source(tmp_path / "in")
    targets = [tmp_path / f"h{number}" for number in range(3)]
    wrapped = wrap_folder(tmp_path / "in", targets)
    assert [item.patients for item in wrapped] == [2, 2, 2]
    held = [{row["patient_id"] for row in rows_of(target)} for target in targets]
    assert sum(len(patients) for patients in held) == len(set.union(*held)) == 6
    assert sum(item.images for item in wrapped) == len(rows)


@given(
    patients=st.dictionaries(
        st.text("abc0123", min_size=1, max_size=4),
        st.tuples(st.sampled_from(["ill", "well"]), st.sampled_from(["train", "test"])),
        min_size=12,
        max_size=60,
    ),
    sites=st.integers(1, 6),
)
def test_every_label_and_split_is_spread_evenly(patients, sites):
    rows = [{"patient_id": p, "label": a, "split": s} for p, (a, s) in patients.items()]
    dealt = deal_patients(Table(Path("labels.csv"), (), tuple(rows)), sites)
    assert set(dealt) == set(patients)
    for stratum in set(patients.values()):
        shares = [
            sum(dealt[p] == site for p in patients if patients[p] == stratum)
            for site in range(sites)
        ]
        assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize("column", ["file", "patient_id", "label"])
def test_a_missing_column_is_named_with_what_was_found(tmp_path, column):
    rows = write_source(tmp_path / "in", 2)
    for row in rows:
        del row[column]
    write_labels(tmp_path / "in", rows)
    with pytest.raises(LabelsError, match=f"no column '{column}'; found: .*view. Add a column"):
        wrap_folder(tmp_path / "in", [tmp_path / "out"])
    assert not (tmp_path / "out").exists()


def test_an_unknown_split_is_refused_with_its_row(tmp_path):
    rows = write_source(tmp_path / "in", 2)
    rows[2]["split"] = "maybe"
    write_labels(tmp_path / "in", rows)
    with pytest.raises(LabelsError, match=r"row 4: the split column .* use one of train"):
        wrap_folder(tmp_path / "in", [tmp_path / "out"])


def test_files_that_are_no_image_are_counted_before_anything_is_written(tmp_path):
    write_source(tmp_path / "in", 2)
    (tmp_path / "in/images/i0.png").write_text("not an image")
    (tmp_path / "in/images/i3.png").unlink()
    with pytest.raises(SourceImageError, match=r"2 of the 4 files .* rows 2, 5"):
        wrap_folder(tmp_path / "in", [tmp_path / "out"])
    assert not (tmp_path / "out").exists()


def test_an_image_that_breaks_off_is_refused(tmp_path):
    write_source(tmp_path / "in", 2)
    path = tmp_path / "in/images/i0.png"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(SourceImageError, match="breaks off"):
        wrap_folder(tmp_path / "in", [tmp_path / "out"])


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (None, "does not exist; put a CSV with at least file, patient_id, label"),
        (b"", "no column 'file'; found: none"),
        (b"file,patient_id,label\n", "a header and no rows"),
        (b"file,patient_id,label\n\xff\xfe,1,2\n", "not CSV text in UTF-8"),
        (b"file,patient_id,label\na.png,,x\n", "row 2: the 'patient_id' cell is empty"),
        (b"file,patient_id,label\n../a.png,1,x\n", "row 2: the file lies outside"),
    ],
)
def test_a_labels_file_that_cannot_be_used_is_refused_in_plain_words(tmp_path, labels, words):
    (tmp_path / "in").mkdir()
    if labels is not None:
        (tmp_path / "in" / "labels.csv").write_bytes(labels)
    with pytest.raises(LabelsError, match=words):
        wrap_folder(tmp_path / "in", [tmp_path / "out"])


def test_a_source_that_is_no_folder_and_a_target_in_use_are_refused(tmp_path):
    with pytest.raises(FolderError, match="is no folder"):
        wrap_folder(tmp_path / "none", [tmp_path / "out"])
    write_source(tmp_path / "in", 2)
    with pytest.raises(FolderError, match="is not empty"):
        wrap_folder(tmp_path / "in", [tmp_path / "in"])


def test_more_hospitals_than_patients_are_refused(tmp_path):
    write_source(tmp_path / "in", 2)
    with pytest.raises(LabelsError, match="2 patients for 3 hospitals"):
        wrap_folder(tmp_path / "in", [tmp_path / f"h{n}" for n in range(3)])
