"""Synthetic street scenes with exact road labels, rendered with numpy and OpenCV.

A world is an endless road: a centre line, a cross-section and, every `CHUNK` metres, whatever
stands beside it, all drawn from one seed. A pinhole camera looks along the road; the ground is
ray-cast per pixel, upright things are textured planes with a depth buffer, and light is linear
until the camera's tone curve. Frames: x east, y north (along the road), z up, in metres; colours
are BGR, linear albedo or radiance as float32 unless stated.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import NormalDist

import cv2
import numpy as np

CHUNK = 24.0  # m of road generated at a time: shorter than the distance between junctions
FAR = 170.0  # m; the backdrop (tree line, skyline) hides the ground beyond it
NEAR = 0.25  # m; planes are clipped here, in front of the camera
BEHIND = 16.0  # m behind the camera where things still cast shadows into view
SHADOW_TEXEL = 0.16  # m; finer than the penumbra of a tree 10 m away
SHADOW_SIZE = (800, 512)  # texels along and across the road: 128 m by 82 m
BAND = 24  # rows of ground shaded at a time: their arrays fit a core's cache
TILE = 512  # texels of the periodic noise tile
AIRLIGHT = 0.6  # radiance of haze, as a share of the horizon's
LOW_FAR = 95.0  # m; vehicles and people beyond are hidden by others as a rule
SMALLEST = 4  # px; lower things are left out
THINNEST = 0.7  # px; panels narrower or lower than this are not worth drawing
UP = np.array([0.0, 0.0, 1.0])
UNIT_SQUARE = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
TREES, BUSHES, FACADES = 10, 5, 6  # textures kept in memory; tint and size vary their looks
JOINTS = {'slabs': 0.5, 'setts': 0.22}  # m between the joints of paving
JUNCTION_FILLET = 5.0  # m, corner radius where a side road joins


@dataclass(frozen=True)
class Scene:
    """A rendered frame and its label.

    `image` is uint8 (H, W, 3) BGR; `road` is uint8 (H, W), 255 on visible carriageway, else 0.
    """

    image: np.ndarray
    road: np.ndarray


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: focal length and principal point in pixels, pose in metres, radians."""

    height: int
    width: int
    focal: float
    position: np.ndarray
    rotation: np.ndarray  # (3, 3), rows are the camera's right, down and forward in the world

    def project_matrix(self) -> np.ndarray:
        """Return the (3, 3) map from a world direction to homogeneous pixels."""
        intrinsics = np.array([
            [self.focal, 0.0, (self.width - 1) / 2],
            [0.0, self.focal, (self.height - 1) / 2],
            [0.0, 0.0, 1.0],
        ])
        return intrinsics @ self.rotation

    def rays(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return world x, y, z (rows, columns) of rays through pixels, to unit optical depth."""
        back = np.linalg.inv(self.project_matrix()).astype(np.float32)
        px, py = columns.astype(np.float32), rows.astype(np.float32)[:, None]
        return tuple(row[0] * px + (row[1] * py + row[2]) for row in back)


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
class Optics:
    """What the camera does to radiance; constant over a drive."""

    gain: np.ndarray  # exposure times white balance, BGR
    contrast: float
    gamma: float
    vignette: float
    blur: float  # px at 375 rows
    noise: float  # grey levels


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
        """Return the x of the centre line at northing `y`."""
        return sum(a * np.sin(k * y + p) for a, k, p in self.bends)

    def slope(self, y: np.ndarray | float) -> np.ndarray | float:
        """Return dx/dy of the centre line at northing `y`."""
        return sum(a * k * np.cos(k * y + p) for a, k, p in self.bends)

    def frame(self, along: float, across: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return a ground point, and the unit vectors along the road and to its right."""
        slope = self.slope(along)
        forward = np.array([slope, 1.0, 0.0]) / np.hypot(slope, 1.0)
        right = np.array([forward[1], -forward[0], 0.0])
        return np.array([self.centre(along), along, 0.0]) + across * right, forward, right


@dataclass(frozen=True)
class Panel:
    """A textured parallelogram: top-left corner, its edges to the right and down, in metres.

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
        normal = _cross(self.down, self.right)
        return normal / np.linalg.norm(normal)


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


@dataclass
class _Canvas:
    """The frame being painted: radiance (3, H, W) and inverse depth (H, W), 0 for ground, sky.

    Colour planes are kept apart until the end: numpy is several times faster on them.
    """

    radiance: np.ndarray
    inverse_depth: np.ndarray


# Noise and colour


def _srgb(red: float, green: float, blue: float) -> np.ndarray:
    return (np.array([blue, green, red], np.float32) / 255) ** np.float32(2.2)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the cross product of two vectors; numpy's is slow on single ones."""
    (ax, ay, az), (bx, by, bz) = a.tolist(), b.tolist()
    return np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def _generator(*key: int) -> np.random.Generator:
    # Chunks behind the start have negative indices, which a seed may not be.
    return np.random.default_rng([abs(k) * 2 + (k < 0) for k in key])


@functools.cache
def _noise_tile() -> np.ndarray:
    """Return periodic value noise, float32 (TILE, TILE), zero mean, unit deviation."""
    rng = np.random.default_rng(7)
    total = np.zeros((TILE, TILE), np.float32)
    for cell, weight in ((4, 1.0), (8, 0.8), (16, 0.6)):
        n = TILE // cell
        lattice = np.pad(rng.standard_normal((n, n)).astype(np.float32), 2, mode='wrap')
        fine = cv2.resize(lattice, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)
        total += weight * fine[2 * cell:2 * cell + TILE, 2 * cell:2 * cell + TILE]
    return (total - total.mean()) / total.std()


def _wrap(values: np.ndarray, period: float) -> np.ndarray:
    """Return `values` modulo `period`; several times faster than numpy's remainder."""
    return values - period * np.floor(values * (1 / period))


def _noise(x: np.ndarray, y: np.ndarray, cell: float) -> np.ndarray:
    """Sample noise with features of `cell` to 4 `cell` metres at world points (float32)."""
    # Wrapped beforehand: cv2.remap is slow on points outside, and holds them in 16 bits.
    u, v = (_wrap(a * (4.0 / cell), TILE) for a in (x, y))
    return cv2.remap(_noise_tile(), u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


def _cut_noise(rng: np.random.Generator, shape: tuple[int, int], zoom: float = 1) -> np.ndarray:
    """Cut a (h, w) window from the noise tile, magnified `zoom` times."""
    need = [int(np.ceil(n / zoom)) + 1 for n in shape]
    window = np.take(_noise_tile(), np.arange(need[0]) + rng.integers(TILE), 0, mode='wrap')
    window = np.take(window, np.arange(need[1]) + rng.integers(TILE), 1, mode='wrap')
    return cv2.resize(window, shape[::-1], interpolation=cv2.INTER_LINEAR)


def _cover(distance: np.ndarray, footprint: np.ndarray | float) -> np.ndarray:
    """Return the share of a pixel inside an edge, from signed distance (negative inside)."""
    return np.minimum(np.maximum(0.5 - distance / footprint, 0), 1)


def _levels(texture: np.ndarray) -> tuple[np.ndarray, ...]:
    levels = [np.ascontiguousarray(texture, np.float32)]
    while min(levels[-1].shape[:2]) > 3:
        h, w = levels[-1].shape[:2]
        levels.append(cv2.resize(levels[-1], (w // 2, h // 2), interpolation=cv2.INTER_AREA))
    return tuple(levels)


# Textures


def _paint(height: int, width: int, colour: np.ndarray) -> np.ndarray:
    texture = np.ones((height, width, 4), np.float32)
    texture[..., :3] = colour
    return texture


def _leaves(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Return brightness of foliage: mostly dark gaps with bright leaf clusters."""
    fine = _cut_noise(rng, shape, 0.7) + 0.9 * _cut_noise(rng, shape, 3.0)
    return np.exp(0.55 * fine - 0.15)


@functools.cache
def _tree(kind: int) -> tuple[np.ndarray, ...]:
    """Return a tree sprite: leaf brightness as grey where leafy, bark as brown."""
    rng = np.random.default_rng([11, kind])
    h, w = 480, 384
    sprite = np.zeros((h, w, 4), np.float32)
    conifer = kind % 5 == 4
    lean = rng.uniform(-12, 12)
    bark = tuple(float(c) for c in _srgb(68, 58, 53) * 4)
    trunk = rng.uniform(6, 11)
    crown_base = rng.uniform(0.62, 0.92) * h
    points = np.array([(w / 2 - trunk, h), (w / 2 + trunk, h),
                       (w / 2 + lean + 3, h * 0.35), (w / 2 + lean - 3, h * 0.35)])
    cv2.fillPoly(sprite, [points.astype(np.int32)], (*bark, 1.0), cv2.LINE_AA)
    # OpenCV smooths no edges of float pictures.
    sprite = cv2.GaussianBlur(sprite, (5, 5), 0)
    leaves = _leaves(rng, (h, w))
    ragged = _cut_noise(rng, (h, w), 1.0) * 0.25 + _cut_noise(rng, (h, w), 4.0) * 0.3
    yy, xx = np.mgrid[0:h, 0:w].astype(np.float32)
    for depth in np.sort(rng.uniform(0, 1, 90)):
        level = rng.uniform(0, 1)
        spread = (1 - level) * 0.8 + 0.08 if conifer else np.sqrt(1 - (2 * level - 1) ** 2 * 0.8)
        angle = rng.uniform(-1, 1)
        cx = w / 2 + lean + angle * spread * w * 0.34
        cy = crown_base - level * (crown_base - 0.12 * h)
        radius = rng.uniform(0.045, 0.11) * h * (0.7 if conifer else 1.0)
        box = (slice(max(int(cy - 1.6 * radius), 0), int(cy + 1.6 * radius)),
               slice(max(int(cx - 1.6 * radius), 0), int(cx + 1.6 * radius)))
        dx, dy = (xx[box] - cx) / radius, (yy[box] - cy) / radius
        solid = np.clip((1 - np.hypot(dx, dy) + ragged[box]) * 4, 0, 1)[..., None]
        # The library is lit from the upper left; sprites are mirrored to suit the sun.
        lit = 0.25 + 0.75 * depth * np.clip(0.6 - 0.4 * dx - 0.55 * dy, 0.12, 1.4)
        tone = np.repeat((lit * leaves[box])[..., None], 4, 2)
        tone[..., 3] = 1
        sprite[box] += solid * (tone - sprite[box])
    return _levels(sprite)


@functools.cache
def _bush(kind: int) -> tuple[np.ndarray, ...]:
    """Return a bush sprite, leaf brightness as grey, twice as wide as tall."""
    rng = np.random.default_rng([13, kind])
    h, w = 128, 256
    yy, xx = np.mgrid[0:h, 0:w].astype(np.float32)
    top = 0.35 + 0.12 * _cut_noise(rng, (1, w), 12.0)
    dome = 1 - ((xx - w / 2) / (w / 2)) ** 4
    rise = (1 - yy / h) - dome * (1 - top) + 0.07 * _cut_noise(rng, (h, w), 1.0)
    sprite = np.empty((h, w, 4), np.float32)
    sprite[..., :3] = (_leaves(rng, (h, w)) * np.clip(1.15 - yy / h, 0.15, 1))[..., None]
    sprite[..., 3] = np.clip(-rise * 12, 0, 1)
    return _levels(sprite)


@functools.cache
def _person(kind: int) -> tuple[np.ndarray, ...]:
    """Return a pedestrian (even kinds) or cyclist (odd kinds), seen from behind."""
    rng = np.random.default_rng([17, kind])
    sprite = np.zeros((128, 64, 4), np.float32)
    tones = rng.uniform(25, 130, (2, 1)) + rng.uniform(-20, 20, (2, 3))
    top, legs = ((*(float(c) for c in _srgb(*tone)), 1.0) for tone in tones)
    skin = (*(float(c) for c in _srgb(190, 140, 115)), 1.0)
    dark = (0.01, 0.01, 0.01, 1.0)
    stride = int(rng.integers(2, 10))
    if kind % 2:
        cv2.line(sprite, (32, 84), (32, 126), dark, 4, cv2.LINE_AA)
        cv2.line(sprite, (20, 70), (44, 70), dark, 3, cv2.LINE_AA)
    for x in (-1, 1):
        cv2.line(sprite, (32 + x * 4, 66), (32 + x * stride, 122), legs, 8, cv2.LINE_AA)
        cv2.line(sprite, (32 + x * 9, 30), (32 + x * 13, 64), top, 6, cv2.LINE_AA)
    cv2.ellipse(sprite, (32, 45), (11, 25), 0, 0, 360, top, -1, cv2.LINE_AA)
    cv2.circle(sprite, (32, 11), 8, skin, -1, cv2.LINE_AA)
    cv2.ellipse(sprite, (32, 9), (8, 7), 0, 150, 390, (0.03, 0.04, 0.05, 1.0), -1, cv2.LINE_AA)
    sprite[..., :3] *= (1 + 0.2 * _cut_noise(rng, (128, 64), 3.0))[..., None].clip(0.4, 1.6)
    return _levels(sprite)


def _masonry(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Return a weathered wall of unit albedo, of plaster or of brick courses."""
    texture = _paint(*shape, np.ones(3, np.float32))
    stain = 1 + 0.05 * _cut_noise(rng, shape, 1.0) + 0.09 * _cut_noise(rng, shape, 9.0)
    if rng.random() < 0.4:
        stain[::3] *= 0.8
    stain *= np.linspace(1.05, 0.85, shape[0])[:, None]
    texture[..., :3] *= stain.clip(0.3, 1.6)[..., None]
    return texture


@functools.cache
def _plain_wall(kind: int) -> tuple[np.ndarray, ...]:
    return _levels(_masonry(np.random.default_rng([19, kind]), (48, 128)))


@functools.cache
def _facade(floors: int, kind: int) -> tuple[np.ndarray, ...]:
    """Return a house front about 12 m wide, to be tinted; kind 0 is a gable end."""
    rng = np.random.default_rng([23, floors, kind])
    storey, w = int(rng.uniform(50, 60)), 240
    h = storey * floors + 16
    wall = _masonry(rng, (h, w))
    pitch = int(rng.uniform(36, 68))
    tall, wide = int(rng.uniform(0.42, 0.6) * storey), int(pitch * rng.uniform(0.35, 0.6))
    frame = _srgb(*([rng.choice([90, 225, 240])] * 3))
    shop, shutters = kind and rng.random() < 0.3, rng.random() < 0.2
    for floor, sill in enumerate(range(h - 22, tall, -storey)):
        for left in range((w % pitch + pitch - wide) // 2, w - wide, pitch):
            if not kind and rng.random() < 0.6:
                continue
            bottom, right = sill, left + wide
            if not floor and kind and (shop or rng.random() < 0.2):
                bottom, right = h, left + (pitch - 6 if shop else 20)
            if shutters and floor:
                wall[sill - tall:sill, max(left - 9, 0):right + 9, :3] = _srgb(80, 95, 85)
            wall[bottom:bottom + 2, left:right, :3] *= 1.25
            pane = wall[sill - tall:bottom, left:right, :3]
            pane[:] = frame
            glass = pane[2:-2, 2:-2]
            glass[:] = _srgb(44, 50, 56) * rng.lognormal(0, 0.5)
            glass[:len(glass) // 2] *= rng.uniform(0.9, 3.0)
            if rng.random() < 0.3:
                glass[:int(rng.uniform(0.2, 0.9) * len(glass))] = _srgb(175, 170, 160)
            pane[:, pane.shape[1] // 2 - 1:pane.shape[1] // 2 + 1] = frame
    wall[-10:, :, :3] *= 0.7
    return _levels(wall)


# Vehicles


@dataclass(frozen=True)
class Body:
    """Proportions of a vehicle: metres, and stations from the tail as shares of the length."""

    length: float
    width: float
    height: float
    belt: float  # top of the doors
    nose: float  # height of the bonnet's front edge
    tail: float  # where the rear window meets the boot
    roof: tuple[float, float]
    cowl: float  # where the windscreen meets the bonnet
    lean: float  # how far the roof's edges stand inside the doors, m
    panes: tuple[tuple[float, float], ...]
    wheel: float = 0.31


BODIES = (
    Body(3.9, 1.70, 1.47, 0.92, 0.74, 0.0, (0.10, 0.55), 0.76, 0.17,
         ((0.08, 0.38), (0.41, 0.7))),
    Body(4.6, 1.78, 1.44, 0.93, 0.74, 0.17, (0.32, 0.58), 0.76, 0.17,
         ((0.25, 0.44), (0.46, 0.7))),
    Body(4.6, 1.78, 1.50, 0.95, 0.77, 0.0, (0.07, 0.57), 0.75, 0.17,
         ((0.06, 0.22), (0.24, 0.44), (0.46, 0.7))),
    Body(4.9, 1.95, 2.05, 1.15, 1.05, 0.0, (0.01, 0.72), 0.86, 0.06, ((0.7, 0.83),), 0.33),
    Body(7.5, 2.40, 3.10, 1.50, 1.40, 0.0, (0.005, 0.95), 0.985, 0.0, ((0.86, 0.96),), 0.48),
)
BODY_SHARES = (0.36, 0.22, 0.26, 0.12, 0.04)
PAINTS = ((25, 26, 28), (60, 62, 66), (120, 123, 127), (168, 170, 172), (205, 205, 203),
          (28, 38, 70), (115, 22, 24), (40, 62, 52), (95, 85, 70), (170, 80, 30))
PAINT_SHARES = (0.2, 0.15, 0.17, 0.15, 0.12, 0.07, 0.06, 0.03, 0.03, 0.02)
GLASS = (30, 35, 40)
CAR_SCALE = 40  # px/m of the textures


def _side_texture(body: Body, paint: np.ndarray) -> np.ndarray:
    """Return a vehicle's side below the windows, heading right."""
    texture = _paint(int(body.belt * CAR_SCALE), int(body.length * CAR_SCALE), paint)
    h, w = texture.shape[:2]
    texture[..., :3] *= np.linspace(1.2, 0.7, h)[:, None, None]
    texture[int(0.1 * h):int(0.16 * h), :, :3] *= 1.3
    texture[-int(0.28 * CAR_SCALE):, :, :3] = 0.012
    texture[-int(0.12 * CAR_SCALE):, :, 3] = 0
    for _, x in body.panes:
        texture[:-12, int(x * w):int(x * w) + 1, :3] *= 0.4
    dark, rim = (0.008, 0.008, 0.008, 1.0), (0.16, 0.16, 0.16, 1.0)
    for x in (0.19, 0.82):
        hub = (int(x * w), int(h - body.wheel * CAR_SCALE))
        for share, colour in ((1.12, dark), (0.62, rim), (0.2, dark)):
            radius = int(body.wheel * share * CAR_SCALE)
            cv2.circle(texture, hub, radius, colour, -1)
    return cv2.GaussianBlur(texture, (3, 3), 0)  # OpenCV smooths no edges of float pictures


def _cabin_texture(body: Body, paint: np.ndarray) -> np.ndarray:
    texture = _paint(24, 64, paint)
    for start, stop in body.panes:
        pane = texture[3:-1, int(start * 64):int(stop * 64), :3]
        pane[:] = _srgb(*GLASS)
        pane[:9] *= 2.2
    return texture


def _end_texture(body: Body, paint: np.ndarray, rear: bool) -> np.ndarray:
    """Return a vehicle's tail or nose with lamps, number plate, bumper and tyres."""
    texture = _paint(int(body.belt * CAR_SCALE), int(body.width * CAR_SCALE), paint)
    h, w = texture.shape[:2]
    texture[..., :3] *= np.linspace(1.1, 0.75, h)[:, None, None]
    lamp = _srgb(150, 22, 20) if rear else _srgb(190, 195, 200)
    lamp_rows = slice(int(0.05 * h), int(0.4 * h)) if rear else slice(int(0.2 * h), int(0.38 * h))
    for columns in (slice(2, int(0.17 * w)), slice(int(0.83 * w), w - 2)):
        texture[lamp_rows, columns, :3] = lamp
    if not rear:
        texture[int(0.25 * h):int(0.5 * h), int(0.22 * w):int(0.78 * w), :3] = 0.02
    plate = int((0.4 if rear else 0.58) * h)
    texture[plate:plate + 5, int(0.35 * w):int(0.65 * w), :3] = _srgb(210, 210, 200)
    texture[int(0.62 * h):int(0.65 * h), :, :3] *= 0.3
    texture[-int(0.32 * CAR_SCALE):, :, :3] = 0.01
    texture[-int(0.09 * CAR_SCALE):, int(0.14 * w):int(0.86 * w), 3] = 0
    return texture


def _window_texture(paint: np.ndarray) -> np.ndarray:
    texture = _paint(16, 32, paint)
    texture[1:-1, 2:-2, :3] = _srgb(*GLASS)
    texture[1:8, 2:-2, :3] *= 2.5
    return texture


@functools.cache
def _skins(body: Body, paint: tuple[int, int, int]) -> dict[str, tuple[np.ndarray, ...]]:
    """Return a vehicle's textures; few bodies and paints make them worth keeping."""
    colour = _srgb(*paint)
    # Upward faces mirror the sky.
    plain = _paint(8, 8, colour * 1.1 + _srgb(50, 58, 66))
    textures = {
        'side': _side_texture(body, colour), 'cabin': _cabin_texture(body, colour),
        'plain': plain, 'window': _window_texture(colour),
        'tail': _end_texture(body, colour, True), 'nose': _end_texture(body, colour, False)}
    return {name: _levels(texture) for name, texture in textures.items()}


def _vehicle(rng: np.random.Generator, base: np.ndarray, forward: np.ndarray,
             parked: bool = False) -> Thing:
    """Return a car, van or lorry at `base` heading `forward`; lorries do not fit kerb slots."""
    shares = np.array(BODY_SHARES) * ([1, 1, 1, 1, 0] if parked else 1)
    body = BODIES[rng.choice(len(BODIES), p=shares / shares.sum())]
    skins = _skins(body, PAINTS[rng.choice(len(PAINTS), p=PAINT_SHARES)])
    right = np.array([forward[1], -forward[0], 0.0])
    height = body.height * rng.uniform(0.97, 1.06)
    drop = 1 - body.nose / body.belt
    doors = ((0.0, 0.0), (body.cowl, 0.0), (0.985, drop), (1.0, drop + 0.2), (1.0, 1.0),
             (0.0, 1.0))
    windows = ((body.tail, 1.0), (body.roof[0], 0.0), (body.roof[1], 0.0), (body.cowl, 1.0))
    panels = []
    for edge in (-right, right):
        sill = base - forward * body.length / 2 + edge * body.width / 2
        belt = sill + UP * body.belt
        top = sill + UP * height - edge * body.lean
        panels += [Panel(belt, forward * body.length, sill - belt, skins['side'], doors),
                   Panel(top, forward * body.length, belt - top, skins['cabin'], windows)]

    # Strips across the vehicle, from the tail over the roof to the nose: station, height, inset.
    rim = ((0.0, 0.0, 0.0), (0.0, body.belt, 0.0), (body.tail, body.belt, 0.0),
           (body.roof[0], height, body.lean), (body.roof[1], height, body.lean),
           (body.cowl, body.belt, 0.0), (0.985, body.nose, 0.0), (1.0, 0.0, 0.0))
    hatch = 'plain' if len(body.panes) == 1 else 'window'
    names = ('tail', 'plain', hatch, 'plain', 'window', 'plain', 'nose')
    for (x0, z0, in0), (x1, z1, in1), name in zip(rim[:-1], rim[1:], names, strict=True):
        if (x0, z0) == (x1, z1):
            continue
        ends = [(base + forward * (x - 0.5) * body.length + UP * z, inset / body.width)
                for x, z, inset in ((x0, z0, in0), (x1, z1, in1))]
        (high, a), (low, b) = sorted(ends, key=lambda end: -end[0][2])
        trapezium = ((a, 0.0), (1 - a, 0.0), (1 - b, 1.0), (b, 1.0))
        panels.append(Panel(high - right * body.width / 2, right * body.width, low - high,
                            skins[name], trapezium))
    return Thing(base, height * 0.9, tuple(panels), solid=True, low=True,
                 footprint=_rectangle(base, forward, right, body.length * 0.96, body.width))


# Street furniture, buildings and plants


def _rectangle(centre: np.ndarray, forward: np.ndarray, right: np.ndarray,
               length: float, width: float) -> np.ndarray:
    corners = ((-1, -1), (-1, 1), (1, 1), (1, -1))
    return np.array([(centre + a * forward * length / 2 + b * right * width / 2)[:2]
                     for a, b in corners])


def _wall(foot: np.ndarray, normal: np.ndarray, width: float, height: float,
          texture: tuple[np.ndarray, ...], outline: tuple = UNIT_SQUARE,
          lean: float = 0.0) -> Panel:
    """Return a panel from the middle of its foot and its normal; the top edge leans inwards."""
    right = np.array([-normal[1], normal[0], 0.0]) * width
    down = -UP * height + normal * lean
    return Panel(foot - right / 2 - down, right, down, texture, outline)


PLASTERS = ((205, 195, 175), (190, 175, 145), (215, 212, 205), (150, 95, 75), (175, 150, 130),
            (165, 165, 160), (120, 75, 60), (200, 180, 140), (140, 130, 120))
TILES = ((110, 62, 50), (78, 74, 72), (95, 70, 60), (60, 58, 60))


def _building(rng: np.random.Generator, foot: np.ndarray, forward: np.ndarray,
              outward: np.ndarray, length: float, depth: float, floors: int) -> list[Thing]:
    """Return a house whose front stands on `foot` and faces away from `outward`, and its roof."""
    colour = _srgb(*PLASTERS[rng.integers(len(PLASTERS))]) * rng.uniform(0.5, 1.0)
    height = floors * rng.uniform(2.7, 3.3) + 0.8
    middle = foot + outward * depth / 2
    front, end = _facade(floors, 1 + int(rng.integers(FACADES))), _facade(floors, 0)
    panels = [_wall(foot, -outward, length, height, front)]
    panels += [_wall(middle + s * forward * length / 2, s * forward, depth, height, end)
               for s in (-1, 1)]
    rise = rng.uniform(2, 4.5) if rng.random() < 0.7 else 0.0
    house = Thing(middle, height + 0.6 * rise, tuple(panels), tint=colour, solid=True,
                  footprint=_rectangle(middle, forward, outward, length, depth))
    if not rise:
        return [house]
    wall, triangle = _plain_wall(int(rng.integers(4))), ((0.0, 1.0), (0.5, 0.0), (1.0, 1.0))
    gables = tuple(_wall(middle + s * forward * length / 2 + UP * height, s * forward, depth,
                         rise, wall, triangle) for s in (-1, 1))
    slope = _wall(foot + UP * height - outward * 0.4, -outward, length + 0.6, rise, wall,
                  lean=depth / 2 + 0.4)
    tiles = _srgb(*TILES[rng.integers(len(TILES))])
    return [house, Thing(middle, height, gables, tint=colour, solid=True),
            Thing(middle, height, (slope,), tint=tiles, solid=True)]


@functools.cache
def _hedge(kind: int) -> tuple[np.ndarray, ...]:
    """Return 6 m of hedge with a ragged top, leaf brightness as grey."""
    rng, shape = np.random.default_rng([29, kind]), (80, 256)
    texture = np.empty((*shape, 4), np.float32)
    texture[..., :3] = (_leaves(rng, shape) * np.linspace(1.0, 0.3, shape[0])[:, None])[..., None]
    top = 6 + 3 * _cut_noise(rng, (1, shape[1]), 3.0)
    texture[..., 3] = np.clip(np.arange(shape[0])[:, None] - top, 0, 1)
    return _levels(texture)


@functools.cache
def _railing() -> tuple[np.ndarray, ...]:
    texture = _paint(32, 160, _srgb(55, 58, 56))
    texture[3:-2, :, 3] = np.arange(160) % 5 < 2
    return _levels(texture)


def _barrier(rng: np.random.Generator, world: World, foot: np.ndarray, forward: np.ndarray,
             outward: np.ndarray, kind: str) -> Thing:
    """Return 6 m of hedge, wall or railing along the road."""
    texture, height, tint = {
        'hedge': (_hedge(int(rng.integers(4))), rng.uniform(1.2, 2.0), world.leaf),
        'wall': (_plain_wall(int(rng.integers(4))), 1.5, world.masonry),
        'rail': (_railing(), 1.1, np.ones(3, np.float32))}[kind]
    length = 6.15  # a little over a quarter of a chunk, so that bends leave no gaps
    return Thing(foot, height, (_wall(foot, -outward, length, height, texture),), tint=tint,
                 footprint=_rectangle(foot, forward, outward, length, 0.3))


def _plant(rng: np.random.Generator, world: World, foot: np.ndarray, height: float,
           bush: bool = False) -> Thing:
    """Return a tree or bush."""
    sprite = _bush(int(rng.integers(BUSHES))) if bush else _tree(int(rng.integers(TREES)))
    leaf = world.leaf * rng.lognormal(0, 0.2) * (1 + rng.normal(0, 0.08, 3).astype(np.float32))
    width = height * (rng.uniform(1.3, 2.2) if bush else rng.uniform(0.7, 1.0))
    mirrored = -1 if world.light.to_sun[0] > 0 else 1
    return Thing(foot, height, sprite=sprite, sprite_width=mirrored * width, tint=leaf,
                 crown=0.36 * width)


@functools.cache
def _round_bar() -> tuple[np.ndarray, ...]:
    texture = _paint(8, 8, np.ones(3, np.float32))
    texture[..., :3] *= np.array([1.3, 1.25, 1.1, 0.95, 0.8, 0.65, 0.5, 0.45])[:, None]
    return _levels(texture)


def _pole(foot: np.ndarray, height: float, width: float, grey: float) -> Thing:
    return Thing(foot, height, sprite=_round_bar(), sprite_width=width, tint=_srgb(*[grey] * 3),
                 footprint=foot[:2] + np.array([[-0.1, 0], [0, 0.1], [0.1, 0], [0, -0.1]]))


def _sign(rng: np.random.Generator, foot: np.ndarray, forward: np.ndarray) -> Thing:
    """Return a round, triangular or rectangular traffic sign facing the camera's traffic."""
    rim, face = ((150, 25, 25), (215, 215, 210)) if rng.random() < 0.6 else (
        (30, 60, 130), (40, 75, 150))
    texture = _paint(24, 24, _srgb(*rim))
    texture[4:-4, 4:-4, :3] = _srgb(*face)
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    disc = tuple((0.5 + 0.5 * np.cos(a), 0.5 + 0.5 * np.sin(a)) for a in angle)
    outline = (disc, ((0.5, 0.0), (1.0, 0.9), (0.0, 0.9)), UNIT_SQUARE)[rng.integers(3)]
    top = foot + UP * rng.uniform(2.0, 2.4) - forward * 0.06
    post = _levels(_paint(4, 4, _srgb(110, 112, 112)))
    return Thing(foot, 2.8, (_wall(foot, -forward, 0.07, 2.4, post),
                             _wall(top, -forward, 0.65, 0.65, _levels(texture), outline)))


# The world


def _pick_side(rng: np.random.Generator, urban: bool) -> Side:
    kerbed = rng.random() < (0.9 if urban else 0.35)
    pavement = rng.uniform(1.3, 3.6) if kerbed and rng.random() < 0.85 else 0.0
    strip = rng.uniform(0.6, 4.0) if rng.random() < (0.3 if urban else 0.8) else 0.0
    bay = 2.2 if urban and kerbed and rng.random() < 0.2 else 0.0
    fronts = ('buildings', 'houses', 'wood', 'hedge', 'wall', 'open')
    shares = (0.3, 0.27, 0.1, 0.15, 0.1, 0.08) if urban else (0.0, 0.12, 0.4, 0.13, 0.05, 0.3)
    busy = urban and kerbed and rng.random() < 0.6
    return Side(
        kerb=rng.uniform(0.12, 0.3) if kerbed else 0.0, bay=bay, strip=strip, pavement=pavement,
        paving=str(rng.choice(['slabs', 'asphalt', 'gravel'], p=[0.5, 0.38, 0.12])),
        apron=rng.uniform(1, 9) if rng.random() < 0.3 else 0.0,
        beyond=str(rng.choice(['gravel', 'slabs'])),
        parked=rng.uniform(0.25, 0.95) if busy or bay else 0.0,
        frontage=str(rng.choice(fronts, p=shares)),
        trees=rng.uniform(0.2, 1.0) if rng.random() < 0.55 else 0.0)


def _pick_surface(rng: np.random.Generator) -> Surface:
    grey = rng.uniform(88, 150)
    warm = rng.normal(0, 4)
    colour = _srgb(grey + warm, grey, grey - warm)
    concrete = rng.random() < 0.07
    plain = rng.random() < 0.25
    return Surface(
        colour=colour * (1.4 if concrete else 1.0), grain=rng.uniform(0.08, 0.22),
        mottling=rng.uniform(0.03, 0.12), cracks=float(rng.choice([0.0, 0.3, 0.7])),
        tracks=rng.uniform(-0.12, 0.12), seams=bool(rng.random() < 0.5),
        joints=5.0 if concrete else 0.0,
        kerb_colour=_srgb(*([rng.uniform(120, 190)] * 3)),
        paint=0.0 if plain else rng.uniform(0.5, 0.85), wear=rng.uniform(0, 0.8),
        line_width=rng.uniform(0.1, 0.18), dash=((9.0, 3.0), (12.0, 6.0), (6.0, 3.0))[
            rng.integers(3)],
        centre_solid=bool(rng.random() < 0.2), edge_lines=bool(rng.random() < 0.45))


def _pick_light(rng: np.random.Generator) -> Light:
    kind = rng.choice(['clear', 'hazy', 'overcast', 'dusk'], p=[0.58, 0.17, 0.17, 0.08])
    elevation = np.radians(rng.uniform(14, 62) if kind != 'dusk' else 12)
    azimuth = rng.uniform(0, 2 * np.pi)
    to_sun = np.array([np.cos(elevation) * np.sin(azimuth), np.cos(elevation) * np.cos(azimuth),
                       np.sin(elevation)])
    warmth = 0.35 * np.exp(-elevation / 0.25)
    strength = {'clear': 2.6, 'hazy': 1.3, 'overcast': 0.05, 'dusk': 0.15}[kind]
    sun = strength * np.array([0.92 - warmth, 0.97 - 0.5 * warmth, 1.0]) * rng.uniform(0.8, 1.2)
    tone = {'clear': (1.25, 1.05, 0.85), 'hazy': (1.1, 1.05, 1.0), 'overcast': (1.04, 1.02, 1.0),
            'dusk': (1.2, 1.0, 0.9)}[kind]
    ambient = np.array(tone) * rng.uniform(0.35, 0.6) * (1.6 if kind == 'overcast' else 1)
    blue = np.array({'clear': (1.9, 1.05, 0.42), 'hazy': (2.1, 1.8, 1.5),
                     'overcast': (1.5, 1.45, 1.4), 'dusk': (0.8, 0.6, 0.5)}[kind])
    pale = np.array({'clear': (2.3, 2.15, 1.8), 'hazy': (2.5, 2.45, 2.35),
                     'overcast': (2.5, 2.45, 2.35), 'dusk': (0.9, 0.95, 1.1)}[kind])
    return Light(to_sun, sun, ambient, blue * rng.uniform(0.5, 1.2), pale * rng.uniform(0.7, 1.2),
                 clouds={'clear': rng.uniform(-1.5, 0.6), 'hazy': 0.8, 'overcast': 2.0,
                         'dusk': 0.4}[kind],
                 haze=rng.uniform(1500, 5000) if kind == 'clear' else rng.uniform(600, 2500))


def _green(red: float, rng: np.random.Generator) -> np.ndarray:
    """Return a muted green: plants in photographs are barely greener than they are red."""
    return _srgb(red, red + rng.uniform(2, 17), red * rng.uniform(0.5, 0.75))


def _pick_world(seed: int) -> World:
    rng = _generator(seed, 0)
    urban = rng.random() < 0.68
    lanes = int(rng.choice([1, 2, 3, 4], p=[0.15, 0.6, 0.12, 0.13]))
    lane_width = rng.uniform(4.6, 6.0) if lanes == 1 else rng.uniform(2.7, 3.7)
    sides = (_pick_side(rng, urban), _pick_side(rng, urban))
    aside = [2.1 if s.parked and not s.bay else 0.0 for s in sides]
    bends = []
    for _ in range(2):
        wave = 2 * np.pi / rng.uniform(180, 420)
        curvature = float(rng.choice([0.0, 1 / 400, 1 / 160], p=[0.35, 0.35, 0.3]))
        size = curvature * rng.uniform(0.5, 1) / wave ** 2
        bends.append((size, wave, rng.uniform(0, 7)))
    leaf, grass = (_green(rng.uniform(62, 96), rng), _green(rng.uniform(72, 108), rng))
    return World(seed, tuple(bends), lanes, lane_width, -lanes * lane_width / 2 - aside[0],
                 lanes * lane_width / 2 + aside[1], sides, _pick_surface(rng), _pick_light(rng),
                 grass * rng.uniform(0.6, 1.0), leaf * rng.uniform(0.6, 1.0),
                 _srgb(*PLASTERS[rng.integers(len(PLASTERS))]) * 0.7,
                 junctions=rng.choice([0.0, 0.35, 0.7]), traffic=rng.uniform(0, 0.6),
                 footway_tone=rng.uniform(0.85, 1.3),
                 speed=rng.uniform(8, 14))


@dataclass(frozen=True)
class Junction:
    """A side road: northing of its axis, half width in metres, the sides it leaves on."""

    along: float
    half: float
    hands: tuple[int, ...]  # -1 left, 1 right


@dataclass(frozen=True)
class Chunk:
    """What stands on, and was patched into, `CHUNK` metres of road."""

    things: tuple[Thing, ...]
    patches: tuple[tuple[float, float, float, float, float], ...]  # u, y, half sizes, tone
    zebra: float | None  # northing of a pedestrian crossing


def _junction(world: World, index: int) -> Junction | None:
    """Return the side road of a chunk; every third chunk may have one."""
    rng = _generator(world.seed, 1, index)
    if index % 3 or rng.random() > world.junctions:
        return None
    hands = ((-1,), (1,), (-1, 1))[rng.integers(3)]
    return Junction((index + 0.5) * CHUNK, rng.uniform(2.3, 4.0), hands)


def _junctions(world: World, first: int, last: int) -> list[Junction]:
    found = (_junction(world, i) for i in range(first, last + 1))
    return [j for j in found if j]


def _make_chunk(world: World, index: int) -> Chunk:
    """Draw the things of one chunk."""
    rng = _generator(world.seed, 2, index)
    junctions = _junctions(world, index - 1, index + 1)
    start = index * CHUNK
    things: list[Thing] = []
    for hand, side, edge in zip((-1, 1), world.sides, (-world.left, world.right), strict=True):
        def free(along: float, margin: float, hand: int = hand) -> bool:
            return not any(hand in j.hands and abs(along - j.along) < j.half + margin
                           for j in junctions)
        things += _kerbside(rng, world, side, hand, edge, start, free)
        things += _frontage(rng, world, side, hand, edge, start, free)
    patches = []
    for _ in range(rng.poisson(0.8)):
        patches.append((rng.uniform(world.left, world.right), start + rng.uniform(0, CHUNK),
                        rng.uniform(0.4, 1.6), rng.uniform(0.5, 6), rng.uniform(0.65, 1.2)))
    zebra = start + rng.uniform(2, 6) if index % 3 and rng.random() < 0.12 else None
    return Chunk(tuple(things), tuple(patches), zebra)


def _kerbside(rng: np.random.Generator, world: World, side: Side, hand: int, edge: float,
              start: float, free: Callable[[float, float], bool]) -> Iterator[Thing]:
    """Yield parked vehicles, street trees, poles, signs and people of one side."""
    stand = edge + side.bay / 2 if side.bay else edge - 1.05
    for slot in range(4):
        along = start + (slot + 0.5) * CHUNK / 4 + rng.uniform(-0.5, 0.5)
        base, forward, _ = world.frame(along, hand * (stand + rng.uniform(-0.1, 0.1)))
        turned = rng.random() < (0.85 if hand < 0 and world.lanes > 1 else 0.1)
        if rng.random() < side.parked and free(along, 8):
            yield _vehicle(rng, base, -forward if turned else forward, parked=True)
    off = edge + side.bay + side.kerb
    for slot in range(3):
        along = start + (slot + rng.uniform(0.3, 0.7)) * CHUNK / 3
        place = off + (side.strip / 2 if side.strip else 0.6 if side.pavement else 2.5)
        if rng.random() < side.trees and free(along, 5):
            yield _plant(rng, world, world.frame(along, hand * place)[0], rng.uniform(5, 12))
        if side.pavement and rng.random() < 0.12:
            walk = off + side.strip + rng.uniform(0.4, 0.9) * side.pavement
            person = _person(2 * int(rng.integers(6)))
            yield Thing(world.frame(along, hand * walk)[0], 1.75, sprite=person,
                        sprite_width=0.85, low=True, crown=0.25)
    post = world.frame(start + 0.3 * CHUNK, hand * (off + 0.5))
    if rng.random() < 0.4 and free(start + 0.3 * CHUNK, 3):
        yield _pole(post[0], rng.uniform(5, 9), rng.uniform(0.12, 0.28), rng.uniform(50, 130))
    elif rng.random() < 0.3 and free(start + 0.3 * CHUNK, 3):
        yield _sign(rng, post[0], post[1])


def _frontage(rng: np.random.Generator, world: World, side: Side, hand: int, edge: float,
              start: float, free: Callable[[float, float], bool]) -> Iterator[Thing]:
    """Yield buildings, barriers and plants behind the pavement of one side."""
    front = edge + side.reach
    kind = side.frontage
    if kind in ('buildings', 'houses'):
        count = int(rng.integers(1, 4)) if kind == 'buildings' else 1
        setback = 0.2 if kind == 'buildings' else rng.uniform(3, 9)
        floors = int(rng.integers(2, 6)) if kind == 'buildings' else int(rng.integers(1, 4))
        length = CHUNK / count if kind == 'buildings' else rng.uniform(9, 16)
        for n in range(count):
            along = start + (n + 0.5) * CHUNK / count
            foot, forward, right = world.frame(along, hand * (front + setback))
            if free(along, length / 2 + side.reach):
                yield from _building(rng, foot, forward, hand * right, length,
                                     rng.uniform(8, 12), floors)
    barrier = kind if kind in ('hedge', 'wall') else str(rng.choice(['hedge', 'wall', 'rail']))
    if kind in ('hedge', 'wall') or kind == 'houses' and rng.random() < 0.6:
        for n in range(4):
            along = start + (n + 0.5) * CHUNK / 4
            foot, forward, right = world.frame(along, hand * (front + 0.3))
            if free(along, 4 + side.reach):
                yield _barrier(rng, world, foot, forward, hand * right, barrier)
    count = {'wood': 7, 'hedge': 4, 'wall': 4, 'houses': 2, 'open': 2, 'buildings': 0}[kind]
    for n in range(count):
        along, out = start + rng.uniform(0, CHUNK), rng.uniform(1.5, 16)
        out = 1.5 + out * 0.8 if kind == 'wood' else out + (3 if kind != 'open' else 6)
        bush = rng.random() < 0.3
        foot = world.frame(along, hand * (front + out))[0]
        if free(along, 4 + side.reach):
            yield _plant(rng, world, foot, rng.uniform(1, 3) if bush else rng.uniform(5, 15),
                         bush)


def _traffic(world: World, along: float, time: float) -> Iterator[Thing]:
    """Yield the vehicles under way near northing `along` at `time` (s)."""
    oncoming = world.lanes // 2
    for lane in range(world.lanes):
        across = (lane + 0.5 - world.lanes / 2) * world.lane_width
        pace = -0.8 * world.speed if lane < oncoming else world.speed
        first = int((along - pace * time - BEHIND) // CHUNK)
        for slot in range(first, first + int((FAR + BEHIND) // CHUNK)):
            rng = _generator(world.seed, 3, lane, slot)
            y = slot * CHUNK + rng.uniform(4, CHUNK - 4) + pace * time
            own_lane_blocked = lane == world.lanes - 1 and y < along + 9
            if rng.random() > world.traffic or own_lane_blocked:
                continue
            base, forward, right = world.frame(y, across + rng.uniform(-0.3, 0.3))
            if lane == world.lanes - 1 and rng.random() < 0.15:
                yield Thing(base + right * 0.33 * world.lane_width, 1.75,
                            sprite=_person(1 + 2 * int(rng.integers(6))), sprite_width=0.85,
                            low=True, crown=0.25)
            else:
                yield _vehicle(rng, base, forward if pace > 0 else -forward)


# Ground


@dataclass
class _Ground:
    """The ground seen by a block of rows; float32 arrays (rows, W) unless stated."""

    x: np.ndarray
    y: np.ndarray
    across: np.ndarray  # m right of the centre line
    edge: np.ndarray  # m outside the carriageway, negative on it
    blur: np.ndarray  # change of `edge` over a pixel
    depth: np.ndarray
    fine: np.ndarray  # (rows, 1), footprint of a pixel across the view, m
    coarse: np.ndarray  # (rows, 1), footprint along the view, m


def _edge_distance(world: World, across: np.ndarray, along: np.ndarray,
                   junctions: list[Junction]) -> np.ndarray:
    """Return the distance outside the carriageway, side roads joined with rounded corners."""
    middle, half = (world.left + world.right) / 2, (world.right - world.left) / 2
    edge = np.abs(across - middle) - half
    r = JUNCTION_FILLET
    for junction in junctions:
        branch = np.abs(along - junction.along) - junction.half
        if len(junction.hands) == 1:
            branch = np.maximum(branch, -junction.hands[0] * across)
        corner = np.sqrt(np.maximum(r - edge, 0) ** 2 + np.maximum(r - branch, 0) ** 2)
        edge = np.maximum(r, np.minimum(edge, branch)) - corner
    return edge


def _intersect(world: World, camera: Camera, rows: range, junctions: list[Junction]) -> _Ground:
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
    return _Ground(x, y, across, edge, _gradient(edge), depth, fine, typical * fine / height)


def _gradient(values: np.ndarray) -> np.ndarray:
    """Return how much `values` change over a pixel."""
    change = np.full_like(values, 1e-4)
    change[:, 1:] += np.abs(np.diff(values, axis=1))
    steps = np.abs(np.diff(values, axis=0))
    change[1:] += steps
    change[:1] += steps[:1] if len(steps) else 0
    return change


def _ground_albedo(world: World, ground: _Ground, chunks: list[Chunk]) -> tuple:
    """Return the ground's albedo (3, rows, W) and the carriageway's share of each pixel."""
    s = world.surface
    grain = _noise(ground.x, ground.y, 0.035) / (1 + (ground.coarse / 0.15) ** 2)
    middle = _noise(ground.x, ground.y, 0.4) / (1 + (ground.coarse / 1.5) ** 2)
    broad = _noise(ground.across, ground.y, 3.0) / (1 + (ground.coarse / 12) ** 2)
    ragged = 0.0 if all(side.kerb for side in world.sides) else 0.06
    road = _cover(ground.edge + ragged * middle, ground.blur)
    asphalt = 1 + s.grain * grain + s.mottling * (middle + broad)
    stony = 1 + 0.22 * grain + 0.12 * middle + 0.08 * broad
    turf = np.exp(0.45 * grain + 0.3 * middle + 0.15 * broad)
    palette = {'grass': world.grass, 'asphalt': s.colour * world.footway_tone,
               'kerb': s.kerb_colour, 'shade': s.kerb_colour * 0.2,
               'gravel': _srgb(122, 115, 103), 'slabs': _srgb(138, 134, 129),
               'setts': _srgb(118, 110, 106)}

    # From the top layer down, each covers what those above it left.
    left = 1 - road
    weights, colours = _road_layers(world, ground, chunks, asphalt, middle, broad, road)
    for hand, side in zip((-1, 1), world.sides, strict=True):
        here = _cover(-hand * ground.across, ground.fine)
        stop = 0.0
        for width, name in ((side.bay, 'setts'), (0.05 if side.kerb else 0.0, 'shade'),
                            (side.kerb, 'kerb'), (side.strip, 'grass'),
                            (side.pavement, side.paving), (side.apron, side.beyond),
                            (2 * FAR, 'grass')):
            if not width:
                continue
            stop += width
            share = left * here
            if stop < FAR:
                share *= _cover(ground.edge - stop, ground.blur)
            left = left - share
            tone = {'grass': turf, 'asphalt': asphalt}.get(name, stony)
            if name in JOINTS:
                tone = tone * _slabs(ground, JOINTS[name])
            weights.append(share * tone)
            colours.append(palette[name])
    planes = np.array(colours, np.float32).T @ np.stack(weights).reshape(len(weights), -1)
    return planes.reshape(3, *road.shape), road


def _slabs(ground: _Ground, size: float) -> np.ndarray:
    """Return the brightness of square paving, darker at the joints."""
    across = np.abs(_wrap(ground.across, size) - size / 2)
    along = np.abs(_wrap(ground.y, size) - size / 2)
    joints = np.maximum(_cover(0.49 * size - across, ground.fine),
                        _cover(0.485 * size - along, ground.coarse))
    return 1 - 0.45 * joints * np.clip(1.2 - ground.coarse / size, 0, 1)


def _road_layers(world: World, ground: _Ground, chunks: list[Chunk], asphalt: np.ndarray,
                 middle: np.ndarray, broad: np.ndarray, road: np.ndarray) -> tuple[list, list]:
    """Return weights and albedos of the asphalt, worn, patched and cracked, and the paint."""
    s = world.surface
    lane = ground.across / world.lane_width + world.lanes / 2
    tone = asphalt * (1 + s.tracks * np.cos(4 * np.pi * lane))
    for u, y, half_u, half_y, shade in (p for c in chunks for p in c.patches):
        cover = (_cover(np.abs(ground.across - u) - half_u, ground.fine)
                 * _cover(np.abs(ground.y - y) - half_y, ground.coarse))
        tone *= 1 + (shade - 1) * cover
    if s.seams:
        wander = np.abs(_wrap(lane + 0.02 * broad + 0.5, 1) - 0.5) * world.lane_width
        tone *= 1 - 0.4 * _cover(wander - 0.03, ground.fine + 0.02)
    if s.joints:
        joint = np.abs(_wrap(ground.y, s.joints) - s.joints / 2) - 0.03
        tone *= 1 - 0.5 * _cover(joint, ground.coarse)
    if s.cracks:
        ridge = np.abs(_noise(ground.x, ground.y, 0.9)) - 0.03
        crack = _cover(ridge, 0.04 + ground.coarse) / (1 + ground.coarse * 2)
        tone *= 1 - s.cracks * crack * np.clip(broad, 0, 1)
    if not s.paint:
        return [road * tone], [s.colour]
    worn = np.clip(1 - s.wear * (0.5 + 0.5 * middle), 0.15, 1)
    paint = _markings(world, ground, chunks) * worn
    return ([road * tone * (1 - paint), road * paint * (0.75 + 0.25 * asphalt)],
            [s.colour, np.full(3, s.paint, np.float32)])


def _markings(world: World, ground: _Ground, chunks: list[Chunk]) -> np.ndarray:
    """Return the painted share of each pixel."""
    s = world.surface
    half = s.line_width / 2
    period, length = s.dash
    dashed = _cover(np.abs(_wrap(ground.y, period) - period / 2) - length / 2, ground.coarse)
    paint = np.zeros_like(ground.y)
    for lane in range(1, world.lanes):
        offset = (lane - world.lanes / 2) * world.lane_width
        line = _cover(np.abs(ground.across - offset) - half, ground.fine)
        solid = s.centre_solid and lane == world.lanes // 2
        paint = np.maximum(paint, line if solid else line * dashed)
    if s.edge_lines:
        inset = np.abs(ground.edge + 0.25) - half
        paint = np.maximum(paint, _cover(inset, ground.blur))
    for zebra in (c.zebra for c in chunks if c.zebra is not None):
        bars = _cover(np.abs(_wrap(ground.across, 1.0) - 0.5) - 0.25, ground.fine)
        bars = bars * _cover(np.abs(ground.y - zebra) - 1.6, ground.coarse)
        paint = np.maximum(paint, bars * (ground.edge < -0.3))
    return paint


# Shadows


@dataclass(frozen=True)
class _Shadows:
    """Shadows seen from above: uint8 (*SHADOW_SIZE, 3), by things, by leaves and underneath."""

    corner: np.ndarray  # x, y of texel 0, 0
    layers: np.ndarray

    def sample(self, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
        """Return the three shadows, 0 to 1, at ground points (float32)."""
        u, v = ((a - np.float32(c)) * np.float32(1 / SHADOW_TEXEL)
                for a, c in zip((x, y), self.corner, strict=True))
        found = cv2.remap(self.layers, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        return [a * np.float32(1 / 255) for a in cv2.split(found)]


def _cast(world: World, camera: Camera, things: list[Thing]) -> _Shadows:
    """Draw the shadows of `things` from above, on texels fixed in the world."""
    span = np.array([SHADOW_SIZE[1] / 2, BEHIND / SHADOW_TEXEL])
    corner = (np.round(camera.position[:2] / SHADOW_TEXEL) - span) * SHADOW_TEXEL
    layers = [np.zeros(SHADOW_SIZE, np.uint8) for _ in range(3)]
    hard, leafy, contact = layers
    sun = world.light.to_sun
    throw = -sun[:2] / sun[2]
    for thing in things:
        tip = throw * thing.height
        foot = (thing.footprint - corner) / SHADOW_TEXEL
        if len(foot):
            hull = np.vstack([foot, foot + tip / SHADOW_TEXEL]).astype(np.int32)
            cv2.fillConvexPoly(hard, cv2.convexHull(hull), 255)
            if thing.low:
                cv2.fillConvexPoly(contact, foot.astype(np.int32), 255)
        if thing.crown:
            low, high = ((thing.base[:2] + tip * k - corner) / SHADOW_TEXEL for k in (0.35, 0.85))
            radius = thing.crown / SHADOW_TEXEL
            for k in np.linspace(0, 1, 4):
                centre = (low + (high - low) * k).astype(int)
                cv2.circle(leafy, (int(centre[0]), int(centre[1])), int(radius * (1.1 - 0.4 * k)),
                           255, -1)
            start = ((thing.base[:2] - corner) / SHADOW_TEXEL).astype(int)
            cv2.line(hard, tuple(map(int, start)), tuple(map(int, low)), 200, 2)
    soft = [cv2.blur(a, (n, n)) for a, n in zip(layers, (3, 13, 5), strict=True)]
    return _Shadows(corner, cv2.merge(soft))


def _shade(world: World, ground: _Ground, albedo: np.ndarray, shadows: _Shadows) -> np.ndarray:
    """Light the ground's albedo (3, rows, W) in place, and return it as radiance."""
    hard, leafy, contact = shadows.sample(ground.x, ground.y)
    dapple = _noise(ground.x, ground.y, 0.25) / (1 + (ground.coarse / 1.0) ** 2)
    leafy = np.clip((leafy - 0.45 + 0.22 * dapple) * 3 + 0.5, 0, 1) * np.minimum(leafy * 3, 1)
    sunlit = (1 - hard) * (1 - 0.92 * leafy) * world.light.to_sun[2]
    sky = 1 - 0.75 * contact - 0.15 * leafy
    for plane, sun, ambient in zip(albedo, world.light.sun, world.light.ambient, strict=True):
        plane *= sunlit * float(sun) + sky * float(ambient)
    return albedo


# Sky


def _sky(world: World, camera: Camera, rows: int) -> np.ndarray:
    """Return the radiance (3, rows, W) of sky, clouds and the far skyline, from the top row."""
    light = world.light
    # Nothing up there is sharp: half the resolution will do.
    x, y, z = camera.rays(np.arange(0, rows + 1, 2), np.arange(0, camera.width + 1, 2))
    level = np.sqrt(x * x + y * y)
    rise = z / level
    blend = np.sqrt(np.clip(rise * 2.5, 0, 1))
    up = np.maximum(rise, 0.02) * level
    cloud = _noise(x / up, y / up, 1.2) + 0.5 * _noise(x / up, y / up, 0.3) + light.clouds - 1
    cloud = np.clip(cloud * 0.4, 0, 0.85)
    length = np.sqrt(level * level + z * z)
    toward = (x * light.to_sun[0] + y * light.to_sun[1] + z * light.to_sun[2]) / length
    glow = np.clip(toward, 0, 1).astype(np.float32) ** 24
    turn = x / np.maximum(y, 0.05)
    flat = np.zeros_like(turn)
    top = 0.035 + 0.014 * _noise(turn, flat, 0.25) + 0.006 * _noise(turn, flat, 0.015)
    leaves = np.exp(0.5 * _noise(turn, rise, 0.006) + 0.3 * _noise(turn, rise, 0.05))
    skyline = np.clip((top - rise) * camera.focal * 0.5, 0, 1)
    lit = world.leaf * (0.6 * light.ambient + 0.3 * light.sun)
    planes = []
    for i in range(3):
        low, high, sun = (float(c[i]) for c in (light.horizon, light.zenith, light.sun))
        sky = low + (high - low) * blend
        sky += cloud * (low + 0.2 * sun - sky) + glow * sun
        planes.append(sky + skyline * (_haze(leaves * float(lit[i]), light, i, FAR) - sky))
    small = cv2.merge(planes)
    full = cv2.resize(small, (2 * small.shape[1], 2 * small.shape[0]))
    return full[:rows, :camera.width].transpose(2, 0, 1)


def _haze(radiance: np.ndarray, light: Light, plane: int,
          depth: np.ndarray | float) -> np.ndarray:
    """Fade one colour plane towards the air's own brightness."""
    clear = np.exp(depth * np.float32(-1 / light.haze))
    return radiance * clear + (1 - clear) * np.float32(AIRLIGHT * light.horizon[plane])


# Painting things


def _clip_near(points: np.ndarray) -> np.ndarray:
    """Cut a polygon (n, 3) of homogeneous pixels where the depth falls below `NEAR`."""
    kept = []
    for a, b in zip(np.roll(points, 1, 0), points, strict=True):
        if (a[2] < NEAR) != (b[2] < NEAR):
            kept.append(a + (b - a) * (NEAR - a[2]) / (b[2] - a[2]))
        if b[2] >= NEAR:
            kept.append(b)
    return np.array(kept).reshape(-1, 3)


def _draw(canvas: _Canvas, camera: Camera, matrix: np.ndarray, panel: Panel, light: Light,
          irradiance: np.ndarray) -> None:
    """Paint a panel where nothing nearer has been painted."""
    plane = np.stack([panel.right, panel.down, panel.origin - camera.position], 1)
    to_image = matrix @ plane  # from units of the edges to homogeneous pixels
    outline = np.array(panel.outline)
    corners = outline @ to_image[:, :2].T + to_image[:, 2]
    if corners[:, 2].min() < NEAR:
        corners = _clip_near(corners)
        if len(corners) < 3:
            return
    pixels = np.clip(corners[:, :2] / corners[:, 2:], -20000, 20000)
    low, high = pixels.min(0).tolist(), pixels.max(0).tolist()
    x0, y0 = (max(int(a) - 1, 0) for a in low)
    x1, y1 = min(int(high[0]) + 2, camera.width), min(int(high[1]) + 2, camera.height)
    too_thin = min(high[0] - low[0], high[1] - low[1]) < THINNEST
    if x0 >= x1 or y0 >= y1 or too_thin:
        return
    to_image[0] -= x0 * to_image[2]
    to_image[1] -= y0 * to_image[2]
    facing = _cross(to_image[:, 0], to_image[:, 1])
    volume = facing @ to_image[:, 2]
    if abs(volume) < 1e-9:
        return
    # 1 / depth is linear in the pixel: the last row of the inverse homography.
    a, b, c = (facing / volume).astype(np.float32)
    inverse_depth = (np.arange(x1 - x0, dtype=np.float32) * a
                     + (np.arange(y1 - y0, dtype=np.float32)[:, None] * b + c))
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    cv2.fillPoly(mask, [np.round((pixels - (x0, y0)) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)

    th, tw = panel.texture[0].shape[:2]
    area = max((high[0] - low[0]) * (high[1] - low[1]), 1.0)
    level = int(0.5 * math.log2(max(th * tw / area, 1.0)) + 0.3)
    texture = panel.texture[min(level, len(panel.texture) - 1)]
    th, tw = texture.shape[:2]
    texels = to_image @ np.array([[1 / tw, 0, 0.5 / tw], [0, 1 / th, 0.5 / th], [0, 0, 1]])
    *colours, alpha = cv2.split(cv2.warpPerspective(
        texture, texels, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE))
    held = canvas.inverse_depth[y0:y1, x0:x1]
    alpha *= mask * np.float32(1 / 255)
    alpha *= inverse_depth > held * np.float32(0.998)
    clear = math.exp(-max(corners[0, 2], NEAR) / light.haze)
    for i, plane in enumerate(canvas.radiance[:, y0:y1, x0:x1]):
        colour = colours[i]
        colour *= float(irradiance[i]) * clear
        colour += float((1 - clear) * AIRLIGHT * light.horizon[i])
        colour -= plane
        colour *= alpha
        plane += colour
    np.copyto(held, inverse_depth, where=alpha > 0.5)


def _in_view(camera: Camera, thing: Thing) -> bool:
    right, _, depth = camera.rotation @ (thing.base - camera.position)
    reach = max(thing.height, abs(thing.sprite_width), 16.0 if thing.solid else 6.0)
    tall = thing.height * camera.focal > SMALLEST * depth
    if thing.low and depth > LOW_FAR:
        return False
    edge = 0.5 * camera.width / camera.focal * max(depth, 0) + reach
    return bool(-reach < depth < FAR and abs(right) < edge and tall)


def _draw_thing(canvas: _Canvas, camera: Camera, matrix: np.ndarray, thing: Thing, light: Light,
                sunlit: float) -> None:
    """Paint an object, its visible faces or its sprite."""
    if thing.sprite:
        right = camera.rotation[0] * thing.sprite_width
        panel = Panel(thing.base + UP * thing.height - right / 2, right, -UP * thing.height,
                      thing.sprite)
        sun = light.sun * (0.25 + 0.5 * sunlit) if thing.crown else light.sun * 0.5 * sunlit
        _draw(canvas, camera, matrix, panel, light, (0.6 * light.ambient + sun) * thing.tint)
        return
    inside = thing.base + UP * thing.height / 2
    for panel in thing.panels:
        normal = panel.normal
        middle = panel.origin + (panel.right + panel.down) / 2
        to_camera = camera.position - middle
        out = normal * np.sign(normal @ ((middle - inside) if thing.solid else to_camera))
        if out @ to_camera <= 0:
            continue
        sun = light.sun * max(out @ light.to_sun, 0) * sunlit
        sky = light.ambient * (0.62 + 0.38 * out[2])
        _draw(canvas, camera, matrix, panel, light, (sky + sun) * thing.tint)


# Camera


def _pick_optics(rng: np.random.Generator, world: World) -> Optics:
    """Expose for the sunlit road, more or less well."""
    light = world.light
    road = float(np.mean((light.ambient + light.sun * light.to_sun[2]) * world.surface.colour))
    level = (rng.uniform(95, 175) / 255) ** 2.2
    balance = 1 + rng.normal(0, 0.03, 3)
    return Optics(gain=(level / road * balance).astype(np.float32), contrast=rng.uniform(1.0, 1.3),
                  gamma=rng.uniform(1.9, 2.4), vignette=rng.uniform(0, 0.35),
                  blur=rng.uniform(0.3, 0.8), noise=rng.uniform(1.5, 4.5))


def _expose(radiance: np.ndarray, optics: Optics, rng: np.random.Generator) -> np.ndarray:
    """Return the uint8 (H, W, 3) picture a camera takes of radiance (3, H, W)."""
    _, h, w = radiance.shape
    x = np.linspace(-1, 1, w, dtype=np.float32)
    y = np.linspace(-1, 1, h, dtype=np.float32)[:, None]
    fall = 1 - optics.vignette * (x * x + 0.5 * y * y) / 1.5
    pivot = 0.42  # the tone that contrast leaves alone
    offset = pivot * (1 - optics.contrast)
    planes = []
    for plane, gain in zip(radiance, optics.gain, strict=True):
        tone = cv2.pow(plane * (fall * float(gain)), 1 / optics.gamma)
        tone = np.maximum(tone, -offset / optics.contrast)  # the scaling below takes |x|
        planes.append(cv2.convertScaleAbs(tone, alpha=255 * optics.contrast, beta=255 * offset))
    image = cv2.GaussianBlur(cv2.merge(planes), (0, 0), max(optics.blur * h / 375, 0.2))
    # Normal noise by inverse transform of random bytes: a tenth of the cost of drawing it.
    quantiles = [NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)]
    table = np.round(np.array(quantiles) * optics.noise).astype(np.int16)
    dice = np.frombuffer(rng.bytes(image.size), np.uint8).reshape(image.shape)
    return cv2.add(image, cv2.LUT(dice, table), dtype=cv2.CV_8U)


def _place_camera(world: World, height: int, width: int, along: float, rng: np.random.Generator,
                  time: float) -> Camera:
    """Return a camera in its lane at northing `along`; `rng` draws what a drive keeps."""
    focal = width * rng.uniform(0.5, 0.72)
    if width < 2 * height:
        focal = width * rng.uniform(0.6, 1.0)
    horizon = rng.uniform(0.38, 0.52) * height
    roll, yaw = rng.normal(0, 0.008), rng.normal(0, 0.025)
    rise, offset = rng.uniform(1.2, 2.2), rng.uniform(-0.4, 0.4)
    phase = rng.uniform(0, 6)
    pitch = np.arctan2((height - 1) / 2 - horizon, focal) + 0.003 * np.sin(5 * time + phase)
    yaw += 0.01 * np.sin(0.5 * time + phase)
    across = (world.lanes - 1) / 2 * world.lane_width + offset + 0.2 * np.sin(0.4 * time)
    ground, forward, right = world.frame(along, across)
    forward, right = (np.cos(yaw) * forward + np.sin(yaw) * right,
                      np.cos(yaw) * right - np.sin(yaw) * forward)
    forward, down = (np.cos(pitch) * forward - np.sin(pitch) * UP,
                     -np.cos(pitch) * UP - np.sin(pitch) * forward)
    right, down = (np.cos(roll) * right + np.sin(roll) * down,
                   np.cos(roll) * down - np.sin(roll) * right)
    return Camera(height, width, focal, ground + UP * rise, np.stack([right, down, forward]))


# Frames


def _render(world: World, camera: Camera, optics: Optics, chunks: dict[int, Chunk], time: float,
            rng: np.random.Generator) -> Scene:
    along = float(camera.position[1])
    first, last = int((along - BEHIND) // CHUNK), int((along + FAR) // CHUNK)
    for index in range(first, last + 1):
        if index not in chunks:
            chunks[index] = _make_chunk(world, index)
    visible = [chunks[i] for i in range(first, last + 1)]
    things = [t for c in visible for t in c.things] + list(_traffic(world, along, time))
    shadows = _cast(world, camera, things)

    h, w = camera.height, camera.width
    on_ground = camera.rays(np.arange(h), np.array([0, w - 1]))[2] < -camera.position[2] / FAR
    top, bottom = h - on_ground.any(1).sum(), h - on_ground.all(1).sum()
    canvas = _Canvas(np.empty((3, h, w), np.float32), np.zeros((h, w), np.float32))
    road = np.zeros((h, w), np.float32)
    if bottom:
        canvas.radiance[:, :bottom] = _sky(world, camera, bottom)
    junctions = _junctions(world, first, last)
    for start in range(top, h, BAND):
        rows = slice(start, min(start + BAND, h))
        ground = _intersect(world, camera, range(rows.start, rows.stop), junctions)
        albedo, share = _ground_albedo(world, ground, visible)
        near = ground.depth < FAR
        for i, plane in enumerate(_shade(world, ground, albedo, shadows)):
            plane = _haze(plane, world.light, i, ground.depth)
            np.copyto(canvas.radiance[i, rows], plane, where=near)
        road[rows] = share * near

    matrix = camera.project_matrix()
    depths = [(t.base - camera.position) @ camera.rotation[2] for t in things]
    for i in np.argsort(depths)[::-1]:
        thing = things[i]
        if not _in_view(camera, thing):
            continue
        sunlit = 1.0
        if thing.low:
            x, y = (np.full((1, 1), v, np.float32) for v in thing.base[:2])
            sunlit = 1 - float(shadows.sample(x, y)[1][0, 0])
        _draw_thing(canvas, camera, matrix, thing, world.light, sunlit)
    label = (road > 0.5) & (canvas.inverse_depth == 0)
    return Scene(_expose(canvas.radiance, optics, rng), label.astype(np.uint8) * 255)


def render(seed: int, height: int = 375, width: int = 1242) -> Scene:
    """Render one independent scene; the same seed gives the same bytes."""
    return next(drive(seed, 1, height, width))


def drive(seed: int, frames: int, height: int = 375, width: int = 1242,
          rate: float = 10.0) -> Iterator[Scene]:
    """Yield `frames` scenes, `rate` per second, of a camera driving through one world."""
    world = _pick_world(seed)
    optics = _pick_optics(_generator(seed, 4), world)
    chunks: dict[int, Chunk] = {}
    for frame in range(frames):
        time = frame / rate
        camera = _place_camera(world, height, width, world.speed * time, _generator(seed, 6), time)
        yield _render(world, camera, optics, chunks, time, _generator(seed, 7, frame))
