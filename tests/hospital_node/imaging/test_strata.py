"""By what figures about patients are broken down: one value of each trait for each patient."""

import psycopg
import pytest
from synthetic import KEY, small_hospital, write_labels

from hospital_node.imaging import index
from hospital_node.imaging.dataset import select
from hospital_node.imaging.deidentify import pseudonym
from hospital_node.imaging.ingest import Source, ingest_folder
from hospital_node.imaging.reader import Limits
from hospital_node.imaging.strata import age_band, strata_of
from protocol.plan import Cohort


def test_a_patient_whose_images_differ_is_of_several_and_traits_of_one_value_are_left_out(
    tmp_path, dsn
) -> None:
    rows = small_hospital(tmp_path)
    write_labels(tmp_path, [row | {"split": "train"} for row in rows])
    with psycopg.connect(dsn, autocommit=True) as connection:
        index.prepare(connection)
        source = Source(tmp_path, tmp_path / "labels.csv")
        ingest_folder(connection, source, key=KEY, limits=Limits(readers=1))
        asked = Cohort(modality=("DX",), label="label", positive="opacity", minimum_patients=1)
        patients = select(connection, asked, salt=b"sixteen or more bytes of salt").train
        for number, (views, age) in enumerate(
            [(("PA", "PA"), 3), (("AP", "PA"), 45), (("", ""), None), (("AP", "AP"), 90)]
        ):
            for which, view in enumerate(views):
                connection.execute(
                    "UPDATE imaging_instance SET view_position = %s, age_years = %s "
                    "WHERE instance = (SELECT instance FROM imaging_instance "
                    "WHERE pseudonym = %s ORDER BY instance OFFSET %s LIMIT 1)",
                    (view, age, pseudonym(KEY, f"P{number}"), which),
                )
        found = strata_of(connection, patients)
    assert set(found) == {"view", "age"}
    order = [one.pseudonym for one in patients]
    told = [
        (
            found["view"][order.index(pseudonym(KEY, f"P{n}"))],
            found["age"][order.index(pseudonym(KEY, f"P{n}"))],
        )
        for n in range(4)
    ]
    assert told == [
        ("PA", "2 to 11"),
        ("several", "40 to 64"),
        ("not stated", "not stated"),
        ("AP", "80 and more"),
    ]


@pytest.mark.parametrize(
    ("years", "band"),
    [
        (0, "0 to 1"),
        (1, "0 to 1"),
        (2, "2 to 11"),
        (17, "12 to 17"),
        (79, "65 to 79"),
        (90, "80 and more"),
    ],
)
def test_bands_have_both_their_ends(years: int, band: str) -> None:
    assert age_band(years) == band
