"""Scattering: features of a picture that are mathematics and were learnt from nobody.

The one rule: every number comes from one picture alone, by wavelets that are written here whole; a
plan names the digest of them and of what is made of them. Labels and heads are not known here.
"""

import hashlib
from functools import lru_cache
from itertools import product
from math import pi

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

SCALES = 3
"""J: wavelets of one, two and four pixels, averaged over eight (Tramèr and Boneh 2021, §2.3)."""

ANGLES = 8
"""L: directions over half a turn; a wavelet and its opposite say the same of a real picture."""

TILES = 4
"""Coefficients are averaged over so many tiles along an edge, whatever a plan's `size_px` is."""

WIDTH_PX = 0.8
"""Standard deviation of the finest wavelet's window, of the average's: times 2^j."""

FREQUENCY = 3 * pi / 4
"""Of the finest wavelet, in radians per pixel (Bruna and Mallat 2013, §2.1)."""

SLANT = 4 / ANGLES
"""Width of a window along its waves ÷ across them."""

PATHS = 1 + SCALES * ANGLES + SCALES * (SCALES - 1) // 2 * ANGLES**2
"""Coefficients at one place: of order 0, 1 and 2."""

FEATURES = PATHS * TILES**2
"""Width of a picture's features."""

COPIES = 2
"""Neighbours of a spectrum that are added on each side; a third would be below e^-40."""

SMALLEST_SPREAD = 1e-6
"""A group of coefficients with a smaller spread is that of a picture without structure."""


def filters(edge: int, scales: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The wavelets of so many scales and the average over them, as spectra on `edge` frequencies.

    Shapes (J, L, S, S) and (S, S). Morlet's wavelets, each less so much of its own window that it
    does not see a constant. On a grid of every second pixel they are those of one scale less.
    """
    wavelets = np.empty((scales, ANGLES, edge, edge))
    for scale, angle in product(range(scales), range(ANGLES)):
        turn, width = pi * angle / ANGLES, WIDTH_PX * 2**scale
        wave = _window(edge, width, turn=turn, frequency=FREQUENCY / 2**scale, slant=SLANT)
        still = _window(edge, width, turn=turn, slant=SLANT)
        wavelets[scale, angle] = wave - still * (wave[0, 0] / still[0, 0])
    return wavelets, _window(edge, WIDTH_PX * 2 ** (scales - 1))


@lru_cache(maxsize=1)
def digest() -> str:
    """What a plan pins: the filters, to six digits, and what is made of their answers."""
    rounded = [np.rint(1e6 * part).astype("<i4").tobytes() for part in filters(32, SCALES)]
    made = f"wardround/scattering/v1\n{SCALES} {ANGLES} {TILES}\n".encode()
    return "sha256:" + hashlib.sha256(made + b"".join(rounded)).hexdigest()


class Scattering:
    """The scattering transform of order two, and of its coefficients a picture's features."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def features(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of `images`, shape (B, 3, S, S), the coefficients by tile. Shape (B, F), float32.

        Each group of coefficients is brought to mean zero and variance one among itself, of each
        picture alone.
        """
        with torch.inference_mode():
            grey = torch.from_numpy(images).to(self._device).mean(dim=1)
            tiles = [functional.adaptive_avg_pool2d(paths, TILES) for paths in scatter(grey)]
            rows = torch.cat([_standardise(paths.flatten(1)) for paths in tiles], dim=1)
        return np.asarray(rows.cpu().numpy(), dtype=np.float32)


def scatter(grey: torch.Tensor) -> list[torch.Tensor]:
    """Of pictures of shape (B, S, S), the coefficients at every 2^J-th pixel, in groups.

    One group of order 0; of order 1, one for each scale with a path for each angle; of order 2, one
    for each two scales, the finer first, with a path for each two angles. Shapes (B, paths, s, s).
    """
    grid = 2**SCALES
    behind = grid + -grey.shape[-1] % grid
    padded = functional.pad(grey[:, None], (grid, behind, grid, behind), mode="reflect")
    spectrum = torch.fft.fft2(padded)
    groups = [_averages(spectrum, SCALES)]
    deeper = []
    for fine in range(SCALES):
        waves = _moduli(spectrum, SCALES, fine)
        groups.append(_averages(waves, SCALES - fine))
        for coarse in range(1, SCALES - fine):
            single = [waves[:, angle, None] for angle in range(ANGLES)]
            moduli = [_moduli(wave, SCALES - fine, coarse) for wave in single]
            averages = [_averages(spectra, SCALES - fine - coarse) for spectra in moduli]
            deeper.append(torch.cat(averages, dim=1))
    return [paths[:, :, 1:-1, 1:-1] for paths in groups + deeper]


def _moduli(spectrum: torch.Tensor, scales: int, scale: int) -> torch.Tensor:
    """The spectra of how strong one scale is, by angle, at every 2^scale-th pixel.

    From shape (B, 1, S, S), on whose grid there are `scales` scales, to (B, L, s, s).
    """
    wavelets, _ = _bank(spectrum.shape[-1], scales, spectrum.device)
    spectra: torch.Tensor = torch.fft.fft2(_inverse(spectrum * wavelets[scale], scale).abs())
    return spectra


def _averages(spectrum: torch.Tensor, scales: int) -> torch.Tensor:
    """The local averages at every 2^scales-th pixel. From shape (B, n, S, S) to (B, n, s, s)."""
    _, average = _bank(spectrum.shape[-1], scales, spectrum.device)
    return _inverse(spectrum * average, scales).real


def _inverse(spectrum: torch.Tensor, halvings: int) -> torch.Tensor:
    """The picture of a spectrum at every 2^halvings-th pixel, whose spectrum is folded up."""
    step = 2**halvings
    edge = spectrum.shape[-1] // step
    copies = spectrum.reshape(*spectrum.shape[:-2], step, edge, step, edge)
    answer: torch.Tensor = torch.fft.ifft2(copies.mean(dim=(-4, -2)))
    return answer


def _standardise(rows: torch.Tensor) -> torch.Tensor:
    """Each row with mean zero and variance one."""
    spread, mean = torch.std_mean(rows, dim=1, keepdim=True, correction=0)
    return (rows - mean) / spread.clamp_min(SMALLEST_SPREAD)


@lru_cache(maxsize=64)
def _bank(edge: int, scales: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """`filters` on the device, in single precision."""
    wavelets, average = (
        torch.from_numpy(part).float().to(device) for part in filters(edge, scales)
    )
    return wavelets, average


def _window(
    edge: int, width: float, *, turn: float = 0.0, frequency: float = 0.0, slant: float = 1.0
) -> NDArray[np.float64]:
    """The spectrum of a Gaussian window, `frequency` away from zero along `turn`. Shape (S, S).

    The window has a sum of one and `width` pixels along `turn`, and is 1/`slant` as wide across. Of
    the torus: the spectrum of sampled pixels repeats every 2π, so neighbours are added.
    """
    total = np.zeros((edge, edge))
    grid = 2 * pi * np.fft.fftfreq(edge)
    for down, right in product(range(-COPIES, COPIES + 1), repeat=2):
        rows, columns = (grid + 2 * pi * down)[:, None], (grid + 2 * pi * right)[None, :]
        along = rows * np.cos(turn) + columns * np.sin(turn) - frequency
        across = columns * np.cos(turn) - rows * np.sin(turn)
        total += np.exp(-0.5 * width**2 * (along**2 + (across / slant) ** 2))
    return total
