"""Masks: to the voxel where the image is, whatever is done to the image on its way."""

import numpy as np
import pytest
from torso import Protocol, _places_mm

from hospital_node.imaging.frames import Plane
from hospital_node.imaging.series import Slice, Stack, Volume, arrange
from hospital_node.imaging.volume import fit, fit_mask, fit_mask_volume, fit_volume
from protocol.plan import Preprocessing, VolumeGrid


def lopsided(rows: int, columns: int) -> np.ndarray:
    """An L in a corner, of which no turn or reflection is itself.

    Its edges lie one pixel behind a multiple of 8: where eight pixels become one, that one is still
    inside by its middle, and would be outside by its first.
    """
    mask = np.zeros((rows, columns), dtype=np.uint8)
    mask[9 : rows // 2 + 1, 17:33] = 1
    mask[rows // 2 - 15 : rows // 2 + 1, 17 : columns - 7] = 1
    return mask


@pytest.mark.parametrize("size_px", [16, 32, 64, 128, 256])
@pytest.mark.parametrize("shape", [(128, 128), (96, 128), (128, 80)])
def test_a_mask_of_a_picture_lies_where_the_picture_lies(
    size_px: int, shape: tuple[int, int]
) -> None:
    mask = lopsided(*shape)
    wanted = Preprocessing(size_px=size_px)
    seen = fit(mask.astype(np.float32), wanted)
    fitted = fit_mask(mask, wanted)
    assert set(np.unique(fitted)) == {0.0, 1.0}
    check_same_places(fitted, seen, clear=0.28)


def check_same_places(mask: np.ndarray, seen: np.ndarray, *, clear: float) -> None:
    """Pass when a mask is inside where a picture of the same structure is bright, to the voxel.

    At edges and corners, where it is less than `clear` from the middle, the picture says neither.
    A corner that is inside along each of three axes is an eighth bright.
    """
    says = np.abs(seen - 0.5) > clear
    assert says.mean() > 0.9
    assert np.array_equal(mask[says], np.float32(seen > 0.5)[says])


@pytest.mark.parametrize(
    "protocol",
    [
        Protocol(matrix_px=32, slices=16),
        Protocol(matrix_px=32, slices=16, row=(-1.0, 0.0, 0.0)),
        Protocol(matrix_px=32, slices=32, row=(0.0, 1.0, 0.0), column=(0.0, 0.0, -1.0)),
    ],
    ids=["axial", "turned round", "sagittal"],
)
@pytest.mark.parametrize(
    "grid",
    [
        VolumeGrid(size_voxels=(16, 32, 32), lower="0", upper="1"),
        VolumeGrid(size_voxels=(32, 64, 64), lower="0", upper="1"),
        VolumeGrid(size_voxels=(12, 24, 24), spacing_mm=("10", "10", "10"), lower="0", upper="1"),
        VolumeGrid(size_voxels=(24, 48, 48), spacing_mm=("5", "5", "5"), lower="0", upper="1"),
    ],
    ids=["whole", "whole, finer", "as stored", "finer"],
)
def test_a_mask_of_a_volume_lies_where_the_volume_lies(
    protocol: Protocol, grid: VolumeGrid
) -> None:
    stack = stack_of(protocol)
    mask = np.zeros(stack.shape, dtype=np.uint8)
    mask[4:10, 8:16, 4:28] = 1
    mask[4:14, 8:24, 4:12] = 1
    mask[4:6, 8:30, 20:24] = 1
    seen = fit_volume(Volume(mask.astype(np.float32), stack.spacing_mm, stack.affine), grid)
    fitted = fit_mask_volume(mask, stack, grid)
    assert fitted.any()
    assert fitted.shape == grid.size_voxels
    check_same_places(fitted, seen, clear=0.38)


def stack_of(protocol: Protocol) -> Stack:
    """How the slices of a protocol make a volume."""
    slices = []
    for number in range(protocol.slices):
        x, y, z = (float(mm) for mm in _places_mm(protocol, number)[0, 0])
        spacing_mm = protocol.spacing_mm[1:]
        plane = Plane((x, y, z), protocol.row, protocol.column, spacing_mm)
        slices.append(Slice(protocol.matrix_px, protocol.matrix_px, plane))
    stack = arrange(slices)
    assert isinstance(stack, Stack), stack
    return stack
