"""Descriptions of a world: its light, its road and what lies on either side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FAR = 170.0  # m; the backdrop (tree line, skyline) hides the ground beyond it
BEHIND = 16.0  # m behind the camera where things still cast shadows into view
UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class Light:
    """Sun and sky: unit vector to the sun, linear BGR radiances, haze length in metres."""

    to_sun: np.ndarray
    sun: np.ndarray
    ambient: np.ndarray
    zenith: np.ndarray
    horizon: np.ndarray
    clouds: float
    haze: float


@dataclass(frozen=True)
class Side:
    """What lies outwards of one edge of the carriageway; widths in metres, 0 for absent."""

    kerb: float
    bay: float
    strip: float
    pavement: float
    paving: str  # 'slabs', 'asphalt' or 'gravel'
    apron: float
    beyond: str  # 'gravel' or 'slabs', up to `apron` behind the pavement, then grass
    parked: float  # share of the kerb taken by parked vehicles
    frontage: str  # 'buildings', 'houses', 'wood', 'hedge', 'wall' or 'open'
    trees: float  # share of tree slots planted

    @property
    def reach(self) -> float:
        """Distance from the carriageway edge to the front gardens or facades."""
        return self.kerb + self.bay + self.strip + self.pavement


@dataclass(frozen=True)
class Surface:
    """Looks of the carriageway and its markings; colours are linear BGR albedo."""

    colour: np.ndarray
    grain: float
    mottling: float
    cracks: float
    tracks: float
    seams: bool
    joints: float  # m between the joints of a concrete road, 0 for asphalt
    kerb_colour: np.ndarray
    paint: float  # albedo of the lane markings, 0 for none
    wear: float
    line_width: float
    dash: tuple[float, float]  # period and length, m
    centre_solid: bool
    edge_lines: bool


@dataclass(frozen=True)
class World:
    """A road and its surroundings; all lengths in metres."""

    seed: int
    bends: tuple[tuple[float, float, float], ...]  # amplitude, angular frequency, phase
    lanes: int
    lane_width: float
    left: float  # carriageway edges, as lateral offsets from the centre line
    right: float
    sides: tuple[Side, Side]
    surface: Surface
    light: Light
    grass: np.ndarray
    leaf: np.ndarray
    masonry: np.ndarray  # albedo of garden walls
    junctions: float  # chance of a side road per chunk
    traffic: float  # chance of a vehicle per slot
    footway_tone: float  # brightness of asphalt footways against the carriageway
    speed: float  # m/s

    def centre(self, y: np.ndarray | float) -> np.ndarray | float:
        """Return the x of the centre line at northing `y`, in the shape of `y`."""
        return sum(a * np.sin(k * y + p) for a, k, p in self.bends)

    def slope(self, y: np.ndarray | float) -> np.ndarray | float:
        """Return dx/dy of the centre line at northing `y`, in the shape of `y`."""
        return sum(a * k * np.cos(k * y + p) for a, k, p in self.bends)

    def frame(self, along: float, across: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return a ground point, and unit vectors along the road and to its right, (3,) each."""
        slope = self.slope(along)
        forward = np.array([slope, 1.0, 0.0]) / np.hypot(slope, 1.0)
        right = np.array([forward[1], -forward[0], 0.0])
        return np.array([self.centre(along), along, 0.0]) + across * right, forward, right
