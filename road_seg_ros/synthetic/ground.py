"""Where the camera sees the ground, and how far that is from the carriageway."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from road_seg_ros.synthetic.camera import Camera
from road_seg_ros.synthetic.layout import Junction
from road_seg_ros.synthetic.world import FAR, World

_JUNCTION_FILLET = 5.0  # m, corner radius where a side road joins


@dataclass
class Ground:
    """The ground seen by a block of rows; float32 arrays (rows, W) unless stated."""

    x: np.ndarray
    y: np.ndarray
    across: np.ndarray  # m right of the centre line
    edge: np.ndarray  # m outside the carriageway, negative on it
    blur: np.ndarray  # change of `edge` over a pixel
    depth: np.ndarray
    fine: np.ndarray  # (rows, 1), footprint of a pixel across the view, m
    coarse: np.ndarray  # (rows, 1), footprint along the view, m

    def shows(self, along: float, half: float) -> bool:
        """Tell whether `half` metres either way of northing `along` may reach a pixel."""
        south, north = self._span
        return south < along + half and along - half < north

    @functools.cached_property
    def _span(self) -> tuple[float, float]:
        # A pixel's footprint blurs what is just outside into view.
        margin = float(self.coarse.max())
        return float(self.y.min()) - margin, float(self.y.max()) + margin


def intersect(world: World, camera: Camera, rows: range, junctions: list[Junction]) -> Ground:
    """
    Return the ground seen by the pixels of `rows`.

    Rays that would meet it beyond twice `FAR`, or not at all, end there.
    """
    dx, dy, dz = camera.rays(np.array(rows), np.arange(camera.width))
    height = np.float32(camera.position[2])
    depth = np.minimum(height / np.maximum(-dz, 1e-6), 2 * FAR)
    x, y = (np.float32(p) + depth * d for p, d in zip(camera.position, (dx, dy), strict=False))
    slope = world.slope(y)
    across = (x - world.centre(y)) / np.sqrt(1 + slope * slope)
    edge = _edge_distance(world, across, y, junctions)
    # Roll is too small for a row's footprints to differ much.
    typical = depth[:, camera.width // 2, None]
    fine = typical / camera.focal
    return Ground(x, y, across, edge, _gradient(edge), depth, fine, typical * fine / height)


def _edge_distance(
    world: World, across: np.ndarray, along: np.ndarray, junctions: list[Junction]
) -> np.ndarray:
    """Return the distance outside the carriageway, side roads joined with rounded corners."""
    middle, half = (world.left + world.right) / 2, (world.right - world.left) / 2
    edge = np.abs(across - middle) - half
    r = _JUNCTION_FILLET
    for junction in junctions:
        branch = np.abs(along - junction.along) - junction.half
        if len(junction.hands) == 1:
            branch = np.maximum(branch, -junction.hands[0] * across)
        corner = np.sqrt(np.maximum(r - edge, 0) ** 2 + np.maximum(r - branch, 0) ** 2)
        edge = np.maximum(r, np.minimum(edge, branch)) - corner
    return edge


def _gradient(values: np.ndarray) -> np.ndarray:
    """Return how much `values` change over a pixel."""
    change = np.full_like(values, 1e-4)
    change[:, 1:] += np.abs(np.diff(values, axis=1))
    steps = np.abs(np.diff(values, axis=0))
    change[1:] += steps
    change[:1] += steps[:1] if len(steps) else 0
    return change
