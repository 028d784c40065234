"""A drawn chest: where lungs, heart, spine and ribs of a patient that never lived would be.

Everything is computed from random numbers; no radiograph of a person is in it or behind it. An
image is float32 of shape (GRID, GRID) with attenuation in [0, 1], bright where rays are stopped,
rows downwards. Scanners and files are not known here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
"""Shape (H, W), float32, attenuation in [0, 1]."""

GRID = 160
"""Edge of the drawing grid; fine enough for the network's input of 128 px."""

FIELD_MM = 360.0
"""Edge of the square field of view, about that of a chest detector."""

_AXIS = np.linspace(-1, 1, GRID, dtype=np.float32)
_BLUR = 64
"""Edge of the grid on which soft-tissue texture is drawn before it is enlarged."""


@dataclass(frozen=True, slots=True)
class Opacity:
    """A round-ish shadow in a lung; positions and radii in half fields of view."""

    across: float
    down: float
    radius: float
    strength: float


@dataclass(frozen=True, slots=True)
class Body:
    """What makes one patient differ from the next; lengths in half fields of view."""

    width: float
    height: float
    heart: float
    heart_shift: float
    dome: float
    ribs: float
    rib_phase: float
    rib_contrast: float
    vessels: float
    thickness: float
    opacities: tuple[Opacity, ...]

    @property
    def is_positive(self) -> bool:
        """Whether the patient carries the finding that is to be learnt."""
        return bool(self.opacities)


@dataclass(frozen=True, slots=True)
class Plane:
    """Coordinates of each grid point in the body's own frame, each of shape (GRID, GRID)."""

    across: Image
    down: Image


def draw_body(rng: np.random.Generator, *, is_positive: bool) -> Body:
    """A patient's proportions, with one to three opacities when positive."""
    width = float(rng.normal(1, 0.05))
    height = float(rng.normal(1, 0.05))
    count = int(rng.choice([1, 2, 3], p=[0.6, 0.28, 0.12])) if is_positive else 0
    return Body(
        width=width,
        height=height,
        heart=float(rng.normal(0.30, 0.035)),
        heart_shift=float(rng.normal(0.10, 0.03)),
        dome=float(rng.normal(0.60, 0.05)),
        ribs=float(rng.normal(9.0, 0.5)),
        rib_phase=float(rng.uniform(0, 2 * np.pi)),
        rib_contrast=float(rng.uniform(0.05, 0.11)),
        vessels=float(rng.uniform(0.10, 0.22)),
        thickness=float(rng.normal(1, 0.05)),
        opacities=tuple(_draw_opacity(rng, width, height) for _ in range(count)),
    )


def draw_radiograph(body: Body, rng: np.random.Generator) -> Image:
    """One exposure of `body`: its own position, exposure and texture, without detector noise."""
    plane = _place(body, rng)
    lungs = _lungs(plane, body)
    image = 0.62 * _torso(plane) * body.thickness
    image -= 0.44 * lungs
    image += 0.30 * _heart(plane, body) + _spine(plane) + _clavicles(plane)
    image += _ribs(plane, body)
    image += body.vessels * lungs * _vessels(plane, rng)
    image += 0.05 * _texture(rng, 8) + 0.025 * _texture(rng, _BLUR)
    for opacity in body.opacities:
        image += _shadow(plane, opacity, rng) * (0.35 + 0.65 * lungs)
    exposed = np.clip(image, 0, 1.2) * np.float32(rng.normal(0.80, 0.04))
    return np.asarray(np.clip(exposed, 0, 1), dtype=np.float32)


def resample(image: Image, rows: int, columns: int) -> Image:
    """`image` on a grid of `rows` by `columns`, by linear interpolation."""
    down = _weights(image.shape[0], rows)
    across = _weights(image.shape[1], columns)
    return np.asarray(down @ image @ across.T, dtype=np.float32)


def _draw_opacity(rng: np.random.Generator, width: float, height: float) -> Opacity:
    side = rng.choice([-1.0, 1.0])
    return Opacity(
        across=float(side * width * rng.normal(0.43, 0.09)),
        down=float(height * rng.uniform(-0.42, 0.36)),
        radius=float(rng.uniform(0.16, 0.31)),
        strength=float(rng.uniform(0.25, 0.44)),
    )


def _place(body: Body, rng: np.random.Generator) -> Plane:
    """Each exposure is centred, turned and enlarged a little differently."""
    turn = np.float32(rng.normal(0, 0.03))
    size = np.float32(rng.normal(1, 0.03))
    down, across = np.meshgrid(
        _AXIS - np.float32(rng.normal(0, 0.03)),
        _AXIS - np.float32(rng.normal(0, 0.03)),
        indexing="ij",
    )
    turned = across * np.cos(turn) + down * np.sin(turn)
    upright = down * np.cos(turn) - across * np.sin(turn)
    return Plane(turned / (size * body.width), upright / (size * body.height))


def _soft(inside: NDArray[np.floating], sharpness: float) -> Image:
    """1 where `inside` is well above 0, 0 where well below, smooth between."""
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * sharpness * inside), dtype=np.float32)


def _torso(plane: Plane) -> Image:
    shoulders = 0.96 - 0.42 * np.clip(-plane.down - 0.72, 0, 1)
    return _soft(shoulders - np.abs(plane.across), 24)


def _lungs(plane: Plane, body: Body) -> Image:
    sideways = np.abs(plane.across) - 0.43
    outline = 1 - (sideways / 0.31) ** 2 - ((plane.down + 0.08) / 0.72) ** 2
    dome = body.dome - 0.16 * (1 - (sideways / 0.36) ** 2) - plane.down
    return np.asarray(_soft(outline, 7) * _soft(dome, 26), dtype=np.float32)


def _heart(plane: Plane, body: Body) -> Image:
    across = (plane.across - body.heart_shift) / body.heart
    down = (plane.down - 0.26) / 0.36
    great_vessels = _soft(0.13 - np.abs(plane.across), 22) * _soft(0.25 - plane.down, 8)
    muscle = _soft(1 - across**2 - down**2, 5)
    return np.asarray(np.maximum(muscle, 0.55 * great_vessels), dtype=np.float32)


def _spine(plane: Plane) -> Image:
    column = _soft(0.085 - np.abs(plane.across), 45)
    return np.asarray(column * (0.10 + 0.03 * np.cos(plane.down * 26)), dtype=np.float32)


def _clavicles(plane: Plane) -> Image:
    line = plane.down + 0.66 + 0.16 * np.abs(plane.across)
    return 0.09 * _soft(0.035 - np.abs(line), 70) * _soft(np.abs(plane.across) - 0.08, 30)


def _ribs(plane: Plane, body: Body) -> Image:
    """Posterior arches fall sideways; they show between the spine and the chest wall."""
    wave = body.ribs * np.pi * (plane.down - 0.30 * np.abs(plane.across) ** 1.7)
    arches = np.clip(np.cos(wave + body.rib_phase) - 0.25, 0, 1)
    cage = _soft(0.80 - np.abs(plane.across), 30) * _soft(0.62 - plane.down, 10)
    return np.asarray(body.rib_contrast * arches * cage, dtype=np.float32)


def _vessels(plane: Plane, rng: np.random.Generator) -> Image:
    """Branching shadows, dense at the hilum and thin at the edge."""
    hilum = np.exp(-((np.abs(plane.across) - 0.22) ** 2 + (plane.down - 0.02) ** 2) / 0.10)
    return np.asarray((0.25 + hilum) * np.clip(_texture(rng, 32), 0, None), dtype=np.float32)


def _shadow(plane: Plane, opacity: Opacity, rng: np.random.Generator) -> Image:
    away = (plane.across - opacity.across) ** 2 + (plane.down - opacity.down) ** 2
    edge = 1 + 0.25 * _texture(rng, 16)
    falloff = np.exp(-((away / opacity.radius**2) ** 1.5) * np.clip(edge, 0.4, 2))
    return np.asarray(opacity.strength * falloff, dtype=np.float32)


def _texture(rng: np.random.Generator, edge: int) -> Image:
    """Smooth noise of mean 0 and standard deviation about 0.6, drawn on `edge` points a side."""
    return resample(rng.standard_normal((edge, edge), dtype=np.float32), GRID, GRID)


_WEIGHTS: dict[tuple[int, int], Image] = {}


def _weights(source: int, target: int) -> Image:
    """Matrix (target, source) of linear interpolation between the centres of equal cells."""
    if (source, target) not in _WEIGHTS:
        place = (np.arange(target) + 0.5) * source / target - 0.5
        place = np.clip(place, 0, source - 1)
        low = np.minimum(place.astype(int), max(source - 2, 0))
        share = place - low
        matrix = np.zeros((target, source), dtype=np.float32)
        matrix[np.arange(target), low] = 1 - share
        matrix[np.arange(target), np.minimum(low + 1, source - 1)] += share
        _WEIGHTS[source, target] = matrix
    return _WEIGHTS[source, target]
