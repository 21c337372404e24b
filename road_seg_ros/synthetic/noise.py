"""Seeded random generators, periodic noise and pixel-wide edges: what patterns are made of."""

from __future__ import annotations

import functools

import cv2
import numpy as np

_TILE = 512  # texels of the periodic noise tile


def generator(*key: int) -> np.random.Generator:
    """Return the random generator of a key, such as a seed, a purpose and an index."""
    # Chunks behind the start have negative indices, which a seed may not be.
    return np.random.default_rng([abs(k) * 2 + (k < 0) for k in key])


def wrap(values: np.ndarray, period: float) -> np.ndarray:
    """Return float32 `values` modulo `period`; several times faster than numpy's remainder."""
    whole = values * (1 / period)
    np.floor(whole, out=whole)
    whole *= period
    return np.subtract(values, whole, out=whole)


def coverage(distance: np.ndarray, footprint: np.ndarray | float) -> np.ndarray:
    """
    Return the share of a pixel inside an edge, 0 to 1, float32 in the shape of `distance`.

    `distance` is float32 (rows, W), in metres to the edge, negative inside; `footprint`, float32,
    is how many metres a pixel spans, for each pixel or each row.
    """
    share = distance / footprint
    np.subtract(0.5, share, out=share)
    np.maximum(share, 0, out=share)
    return np.minimum(share, 1, out=share)


def noise(x: np.ndarray, y: np.ndarray, cell: float) -> np.ndarray:
    """
    Sample noise with features of `cell` to 4 `cell` metres at world points.

    `x` and `y` are float32 (rows, W), in metres; so is the result, of zero mean and unit
    deviation.
    """
    # Wrapped beforehand: cv2.remap is slow on points outside, and holds them in 16 bits.
    u, v = (wrap(a * (4.0 / cell), _TILE) for a in (x, y))
    return cv2.remap(_noise_tile(), u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


def cut_noise(rng: np.random.Generator, shape: tuple[int, int], zoom: float = 1) -> np.ndarray:
    """Cut a float32 (h, w) window from the noise tile, magnified `zoom` times."""
    need = [int(np.ceil(n / zoom)) + 1 for n in shape]
    window = np.take(_noise_tile(), np.arange(need[0]) + rng.integers(_TILE), 0, mode='wrap')
    window = np.take(window, np.arange(need[1]) + rng.integers(_TILE), 1, mode='wrap')
    return cv2.resize(window, shape[::-1], interpolation=cv2.INTER_LINEAR)


@functools.cache
def _noise_tile() -> np.ndarray:
    """Return periodic value noise, float32 (_TILE, _TILE), zero mean, unit deviation."""
    rng = np.random.default_rng(7)
    total = np.zeros((_TILE, _TILE), np.float32)
    for cell, weight in ((4, 1.0), (8, 0.8), (16, 0.6)):
        n = _TILE // cell
        lattice = np.pad(rng.standard_normal((n, n)).astype(np.float32), 2, mode='wrap')
        fine = cv2.resize(lattice, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)
        total += weight * fine[2 * cell : 2 * cell + _TILE, 2 * cell : 2 * cell + _TILE]
    return (total - total.mean()) / total.std()
