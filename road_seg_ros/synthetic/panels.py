"""What things are made of: textured panels and turning sprites."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field

import numpy as np

from road_seg_ros.synthetic.world import UP

UNIT_SQUARE = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))


@dataclass(frozen=True)
class Panel:
    """
    A textured parallelogram: top-left corner, its edges to the right and down, in metres.

    `texture` holds float32 (h, w, 4) levels, each half the size of the one before: BGR albedo and
    alpha. `outline` is the visible part, in units of the edges.
    """

    origin: np.ndarray
    right: np.ndarray
    down: np.ndarray
    texture: tuple[np.ndarray, ...]
    outline: tuple[tuple[float, float], ...] = UNIT_SQUARE

    @functools.cached_property
    def normal(self) -> np.ndarray:
        """The unit normal, on the side from which the texture is not mirrored."""
        normal = cross(self.down, self.right)
        return normal / math.sqrt(normal @ normal)

    @functools.cached_property
    def middle(self) -> np.ndarray:
        """The centre of the parallelogram."""
        return self.origin + (self.right + self.down) / 2

    @functools.cached_property
    def outline_points(self) -> np.ndarray:
        """The outline as float64 (n, 2)."""
        return np.array(self.outline)


@dataclass(frozen=True)
class Thing:
    """An object: its panels, or a sprite that turns to the camera, and how it casts shadow."""

    base: np.ndarray
    height: float
    panels: tuple[Panel, ...] = ()
    sprite: tuple[np.ndarray, ...] = ()
    sprite_width: float = 0.0  # m; negative mirrors the sprite
    tint: np.ndarray = field(default_factory=lambda: np.ones(3, np.float32))
    footprint: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    crown: float = 0.0  # radius of a leafy shadow, m
    solid: bool = False  # closed: panels that face away are not drawn
    low: bool = False  # stands in the shade of others, and darkens the ground under it

    @functools.cached_property
    def outward(self) -> tuple[np.ndarray, ...]:
        """The unit normals of the panels, pointing away from the middle of the thing."""
        inside = self.base + UP * self.height / 2
        return tuple(p.normal * np.sign(p.normal @ (p.middle - inside)) for p in self.panels)


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the cross product (3,) of two vectors; numpy's is slow on single ones."""
    (ax, ay, az), (bx, by, bz) = a.tolist(), b.tolist()
    return np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def rectangle(
    centre: np.ndarray, forward: np.ndarray, right: np.ndarray, length: float, width: float
) -> np.ndarray:
    """Return the corners of a rectangle on the ground, float64 (4, 2), x and y in metres."""
    corners = ((-1, -1), (-1, 1), (1, 1), (1, -1))
    return np.array(
        [(centre + a * forward * length / 2 + b * right * width / 2)[:2] for a, b in corners]
    )


def upright_panel(
    foot: np.ndarray,
    normal: np.ndarray,
    width: float,
    height: float,
    texture: tuple[np.ndarray, ...],
    outline: tuple = UNIT_SQUARE,
    lean: float = 0.0,
) -> Panel:
    """
    Return a panel from the middle of its foot and its unit normal, (3,) each.

    Sizes are in metres; `lean` is how far the top edge stands behind the foot.
    """
    right = np.array([-normal[1], normal[0], 0.0]) * width
    down = -UP * height + normal * lean
    return Panel(foot - right / 2 - down, right, down, texture, outline)
