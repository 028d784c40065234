"""Slices made into volumes: by position alone, or refused with the reason."""

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from torso import (
    LUNG_HU,
    SOFT_HU,
    Nodule,
    Protocol,
    draw_slice,
    store_slice,
    write_series,
)

from hospital_node.imaging.frames import MAX_FRAMES, Plane, planes_of
from hospital_node.imaging.instance import Identity, derive_uid
from hospital_node.imaging.pixels import decode_frame, measure
from hospital_node.imaging.series import (
    SERIES_EXPLANATIONS,
    SeriesFault,
    SeriesReason,
    Slice,
    Stack,
    arrange,
    fill,
)
from hospital_node.imaging.volume import fit_volume
from protocol.plan import VolumeGrid

AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
CORONAL = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
SAGITTAL = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0))


def block(
    count: int = 6, *, step_mm: float = 5.0, axes=AXIAL, spacing_mm=(0.8, 0.7)
) -> list[Slice]:
    """Parallel slices at an even distance along their normal."""
    row, column = np.array(axes[0]), np.array(axes[1])
    normal = np.cross(row, column)
    return [
        Slice(
            20,
            30,
            Plane(
                tuple(
                    float(mm) for mm in (np.array([7.0, -3.0, 11.0]) + number * step_mm * normal)
                ),
                axes[0],
                axes[1],
                spacing_mm,
            ),
        )
        for number in range(count)
    ]


def moved(one: Slice, **changes) -> Slice:
    return replace(one, plane=replace(one.plane, **changes))


def rotation(angles: tuple[float, float, float]) -> np.ndarray:
    a, b, c = angles
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


@settings(deadline=None)
@given(
    st.tuples(*[st.floats(-3, 3)] * 3),
    st.integers(3, 30),
    st.floats(0.3, 12),
    st.randoms(use_true_random=False),
)
def test_any_shuffled_block_comes_back_in_the_order_of_its_positions(angles, count, step, rng):
    turned = rotation(angles)
    axes = (tuple(map(float, turned[:, 0])), tuple(map(float, turned[:, 1])))
    slices = block(count, step_mm=step, axes=axes)
    shuffled = list(enumerate(slices))
    rng.shuffle(shuffled)
    stack = arrange([one for _, one in shuffled])
    assert isinstance(stack, Stack)
    assert [shuffled[place][0] for place in stack.order] == list(range(count))
    assert stack.spacing_mm == pytest.approx((step, 0.8, 0.7))
    assert stack.shape == (count, 20, 30)
    # PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1, one voxel at a time; left and back turned round.
    for number, row, column in [(0, 0, 0), (count - 1, 19, 29), (1, 7, 3)]:
        plane = slices[number].plane
        place = (
            np.array(plane.position_mm)
            + np.array(plane.row) * 0.7 * column
            + np.array(plane.column) * 0.8 * row
        ) * [-1, -1, 1]
        assert stack.affine @ [number, row, column, 1] == pytest.approx([*place, 1], abs=1e-6)


def test_neither_names_nor_instance_numbers_order_a_series(tmp_path):
    protocol = Protocol(matrix_px=16, slices=8)
    paths = write_series(tmp_path / "ct", protocol, (), patient="SYN1")
    assert [path.name for path in paths] != sorted(path.name for path in paths)
    instances = [dcmread(path) for path in sorted(paths)]
    stack = arrange([slice_of(instance) for instance in instances])
    found = [instances[place].InstanceNumber for place in stack.order]
    assert found == list(range(8, 0, -1))


def slice_of(instance) -> Slice:
    planes = planes_of_single(instance)
    return Slice(instance.Rows, instance.Columns, planes)


def planes_of_single(instance) -> Plane:
    instance.SpacingBetweenSlices = 1
    return planes_of(instance, 1)[0]


def test_a_missing_slice_is_a_gap_and_a_repeated_one_a_duplicate():
    slices = block(8)
    assert arrange(slices[:3] + slices[5:]) == SeriesFault(
        SeriesReason.GAP, "2 missing at 5.000 mm"
    )
    assert arrange([*slices, slices[4]]) == SeriesFault(SeriesReason.DUPLICATE_POSITION, "1")


def test_a_gap_beside_many_even_steps_is_not_averaged_away():
    slices = block(40, step_mm=1.0)
    assert arrange(slices[:20] + slices[21:]).reason is SeriesReason.GAP


def test_uneven_slices_are_refused_and_rounded_ones_are_not():
    slices = block(8, step_mm=0.625)
    rounded = [
        moved(one, position_mm=(*one.plane.position_mm[:2], round(one.plane.position_mm[2], 2)))
        for one in slices
    ]
    assert isinstance(arrange(rounded), Stack)
    rounded[3] = moved(slices[3], position_mm=(7.0, -3.0, slices[3].plane.position_mm[2] + 0.2))
    assert arrange(rounded).reason is SeriesReason.UNEVEN


def test_a_scout_among_the_slices_is_a_mixed_orientation():
    scout = moved(block(1)[0], row=SAGITTAL[0], column=SAGITTAL[1])
    assert arrange([*block(), scout]).reason is SeriesReason.MIXED_ORIENTATION


@pytest.mark.parametrize("degrees", [-20, -5, 1, 12, 30])
def test_gantry_tilt_is_named_with_its_angle(degrees):
    lean = np.tan(np.radians(degrees))
    tilted = [
        moved(one, position_mm=(7.0, -3.0 + lean * number * 5, one.plane.position_mm[2]))
        for number, one in enumerate(block(20))
    ]
    fault = arrange(random.Random(3).sample(tilted, 20))
    assert fault == SeriesFault(SeriesReason.GANTRY_TILT, f"{abs(degrees):.1f} degrees")


def test_a_slice_moved_within_its_plane_is_refused():
    slices = block()
    slices[2] = moved(slices[2], position_mm=(8.0, *slices[2].plane.position_mm[1:]))
    assert arrange(slices).reason is SeriesReason.SHIFTED


def test_slices_of_other_matrix_or_spacing_are_refused():
    slices = block()
    assert arrange([*slices[:-1], replace(slices[-1], rows_px=21)]).reason is (
        SeriesReason.MIXED_MATRIX
    )
    assert arrange([*slices[:-1], moved(slices[-1], spacing_mm=(0.8, 0.75))]).reason is (
        SeriesReason.MIXED_SPACING
    )


@pytest.mark.parametrize(
    "change",
    [
        {"position_mm": (0.0, float("nan"), 0.0)},
        {"position_mm": (0.0, 0.0, float("inf"))},
        {"position_mm": (0.0, 0.0, 1e300)},
        {"spacing_mm": (0.0, 0.7)},
        {"spacing_mm": (0.8, -0.7)},
        {"spacing_mm": (0.8, float("nan"))},
        {"row": (0.0, 0.0, 0.0)},
        {"row": (float("nan"), 0.0, 0.0)},
        {"row": (2.0, 0.0, 0.0)},
        {"column": (1.0, 0.0, 0.0)},
        {"column": (0.1, 0.995, 0.0)},
    ],
    ids=str,
)
@pytest.mark.parametrize("place", [0, 3])
def test_impossible_geometry_is_named(change, place):
    slices = block()
    slices[place] = moved(slices[place], **change)
    assert arrange(slices) == SeriesFault(SeriesReason.BAD_GEOMETRY)


def test_too_few_too_many_and_placeless_slices_are_named():
    slices = block()
    assert arrange([]).reason is SeriesReason.TOO_FEW
    assert arrange(slices[:2]).reason is SeriesReason.TOO_FEW
    assert arrange([slices[0]] * (MAX_FRAMES + 1)).reason is SeriesReason.TOO_MANY
    vast = [replace(one, rows_px=65_535, columns_px=65_535) for one in slices]
    assert arrange(vast).reason is SeriesReason.TOO_MANY
    assert arrange([*slices, replace(slices[0], plane=None)]) == SeriesFault(
        SeriesReason.NO_GEOMETRY, "1 of 7"
    )


numbers = st.one_of(st.floats(), st.floats(-500, 500), st.sampled_from([0.0, 1.0]))


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(*[st.tuples(*[numbers] * 3)] * 3, st.tuples(numbers, numbers)),
        min_size=3,
        max_size=6,
    )
)
def test_no_geometry_makes_arranging_raise(planes):
    outcome = arrange([Slice(4, 4, Plane(*plane)) for plane in planes])
    assert isinstance(outcome, Stack | SeriesFault)
    if isinstance(outcome, Stack):
        assert np.isfinite(outcome.affine).all()
        assert min(outcome.spacing_mm) > 0


def test_every_reason_is_explained():
    assert set(SERIES_EXPLANATIONS) == set(SeriesReason)


def test_a_volume_has_the_values_that_were_drawn_and_takes_no_other_number_of_slices():
    protocol = Protocol(matrix_px=16, slices=5)
    drawn = [draw_slice(protocol, number, ()) for number in range(5)]
    stack = arrange(
        [
            Slice(16, 16, replace(one.plane, spacing_mm=protocol.spacing_mm[1:]))
            for one in block(5, step_mm=protocol.spacing_mm[0])
        ]
    )
    assert np.array_equal(fill(stack, drawn).voxels, np.array(drawn, dtype=np.float32))
    assert fill(stack, drawn).voxels.dtype == np.float32
    with pytest.raises(ValueError, match=r"shorter|longer"):
        fill(stack, drawn[:4])
    with pytest.raises(ValueError, match="a slice of"):
        fill(stack, [np.zeros((15, 16))] * 5)


def torso(protocol: Protocol, nodules: tuple[Nodule, ...]):
    instances = [
        store_slice(protocol, number, nodules, identity=IDENTITY)
        for number in range(protocol.slices)
    ]
    random.Random(1).shuffle(instances)
    stack = arrange([slice_of(instance) for instance in instances])
    ordered = [instances[place] for place in stack.order]
    return fill(stack, (measure(one, decode_frame(one)) for one in ordered))


IDENTITY = Identity("SYN1", "SYNTHETIC^Torso", *(derive_uid("test", part) for part in "abc"))
NODULE = Nodule((60.0, -20.0, 35.0), 14.0)
GRID = VolumeGrid(size_voxels=(40, 80, 80), spacing_mm=("4", "4", "4"), lower="-1000", upper="400")


@pytest.mark.parametrize(
    ("axes", "matrix", "slices"),
    [(AXIAL, 96, 60), (AXIAL, 64, 32), (CORONAL, 80, 80), (SAGITTAL, 80, 80)],
    ids=["axial-thin", "axial-thick", "coronal", "sagittal"],
)
def test_a_nodule_is_where_it_was_put_whatever_the_slices(axes, matrix, slices):
    protocol = Protocol(matrix, slices, *axes)
    grid = fit_volume(torso(protocol, (NODULE,)), GRID)
    without = fit_volume(torso(protocol, ()), GRID)
    assert grid.shape == (40, 80, 80)
    assert (grid.min(), grid.dtype) == (0.0, np.float32)
    changed = grid - without
    assert changed.max() == pytest.approx((SOFT_HU - LUNG_HU) / 1400, abs=0.02)
    weights = np.clip(changed, 0, None)
    found = [
        float((weights * (np.arange(size) - (size - 1) / 2).reshape(shape)).sum() / weights.sum())
        for size, shape in zip(grid.shape, [(-1, 1, 1), (1, -1, 1), (1, 1, -1)], strict=True)
    ]
    # D towards the head, H towards the back, W towards the left, 4 mm a voxel.
    assert np.array(found) * 4 == pytest.approx([35, -20, 60], abs=3.5)
    volume_mm3 = weights.sum() / changed.max() * 4**3
    assert volume_mm3 == pytest.approx(4 / 3 * np.pi * 14**3, rel=0.2)


def test_a_grid_without_spacing_shows_the_whole():
    grid = VolumeGrid(size_voxels=(16, 32, 32), lower="-1000", upper="400")
    fitted = fit_volume(torso(Protocol(64, 32), ()), grid)
    assert fitted.shape == (16, 32, 32)
    assert fitted[8, 16, 16] == pytest.approx((SOFT_HU + 1000) / 1400, abs=0.05)
    assert fitted[:, 0, 0].max() == 0


def test_what_lies_beyond_a_volume_is_black():
    small = VolumeGrid(
        size_voxels=(80, 80, 80), spacing_mm=("4", "4", "4"), lower="-1000", upper="400"
    )
    fitted = fit_volume(torso(Protocol(64, 32), ()), small)
    assert not fitted[:18].any()
    assert not fitted[-18:].any()
    assert fitted[40, 40, 40] > 0.5
