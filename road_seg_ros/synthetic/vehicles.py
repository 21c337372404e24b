"""Cars, vans and lorries."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from road_seg_ros.synthetic.panels import Panel, Thing, rectangle
from road_seg_ros.synthetic.textures import mip_levels, plain_texture, srgb
from road_seg_ros.synthetic.world import UP

_PAINTS = (
    (25, 26, 28),
    (60, 62, 66),
    (120, 123, 127),
    (168, 170, 172),
    (205, 205, 203),
    (28, 38, 70),
    (115, 22, 24),
    (40, 62, 52),
    (95, 85, 70),
    (170, 80, 30),
)
_PAINT_SHARES = (0.2, 0.15, 0.17, 0.15, 0.12, 0.07, 0.06, 0.03, 0.03, 0.02)
_GLASS = (30, 35, 40)
_CAR_SCALE = 40  # px/m of the textures


@dataclass(frozen=True)
class _Body:
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


_BODIES = (
    _Body(3.9, 1.70, 1.47, 0.92, 0.74, 0.0, (0.10, 0.55), 0.76, 0.17, ((0.08, 0.38), (0.41, 0.7))),
    _Body(
        4.6, 1.78, 1.44, 0.93, 0.74, 0.17, (0.32, 0.58), 0.76, 0.17, ((0.25, 0.44), (0.46, 0.7))
    ),
    _Body(
        4.6,
        1.78,
        1.50,
        0.95,
        0.77,
        0.0,
        (0.07, 0.57),
        0.75,
        0.17,
        ((0.06, 0.22), (0.24, 0.44), (0.46, 0.7)),
    ),
    _Body(4.9, 1.95, 2.05, 1.15, 1.05, 0.0, (0.01, 0.72), 0.86, 0.06, ((0.7, 0.83),), 0.33),
    _Body(7.5, 2.40, 3.10, 1.50, 1.40, 0.0, (0.005, 0.95), 0.985, 0.0, ((0.86, 0.96),), 0.48),
)
_BODY_SHARES = (0.36, 0.22, 0.26, 0.12, 0.04)


def make_vehicle(
    rng: np.random.Generator, base: np.ndarray, forward: np.ndarray, parked: bool = False
) -> Thing:
    """
    Return a car, van or lorry at `base` heading `forward`; lorries do not fit kerb slots.

    `base` is the ground point (3,) under its middle, `forward` a unit vector (3,).
    """
    shares = np.array(_BODY_SHARES) * ([1, 1, 1, 1, 0] if parked else 1)
    body = _BODIES[rng.choice(len(_BODIES), p=shares / shares.sum())]
    skins = _skins(body, _PAINTS[rng.choice(len(_PAINTS), p=_PAINT_SHARES)])
    right = np.array([forward[1], -forward[0], 0.0])
    height = body.height * rng.uniform(0.97, 1.06)
    drop = 1 - body.nose / body.belt
    doors = (
        (0.0, 0.0),
        (body.cowl, 0.0),
        (0.985, drop),
        (1.0, drop + 0.2),
        (1.0, 1.0),
        (0.0, 1.0),
    )
    windows = ((body.tail, 1.0), (body.roof[0], 0.0), (body.roof[1], 0.0), (body.cowl, 1.0))
    panels = []
    for edge in (-right, right):
        sill = base - forward * body.length / 2 + edge * body.width / 2
        belt = sill + UP * body.belt
        top = sill + UP * height - edge * body.lean
        panels += [
            Panel(belt, forward * body.length, sill - belt, skins['side'], doors),
            Panel(top, forward * body.length, belt - top, skins['cabin'], windows),
        ]

    # Strips across the vehicle, from the tail over the roof to the nose: station, height, inset.
    rim = (
        (0.0, 0.0, 0.0),
        (0.0, body.belt, 0.0),
        (body.tail, body.belt, 0.0),
        (body.roof[0], height, body.lean),
        (body.roof[1], height, body.lean),
        (body.cowl, body.belt, 0.0),
        (0.985, body.nose, 0.0),
        (1.0, 0.0, 0.0),
    )
    hatch = 'plain' if len(body.panes) == 1 else 'window'
    names = ('tail', 'plain', hatch, 'plain', 'window', 'plain', 'nose')
    for (x0, z0, in0), (x1, z1, in1), name in zip(rim[:-1], rim[1:], names, strict=True):
        if (x0, z0) == (x1, z1):
            continue
        ends = [
            (base + forward * (x - 0.5) * body.length + UP * z, inset / body.width)
            for x, z, inset in ((x0, z0, in0), (x1, z1, in1))
        ]
        (high, a), (low, b) = sorted(ends, key=lambda end: -end[0][2])
        trapezium = ((a, 0.0), (1 - a, 0.0), (1 - b, 1.0), (b, 1.0))
        panels.append(
            Panel(
                high - right * body.width / 2,
                right * body.width,
                low - high,
                skins[name],
                trapezium,
            )
        )
    return Thing(
        base,
        height * 0.9,
        tuple(panels),
        solid=True,
        low=True,
        footprint=rectangle(base, forward, right, body.length * 0.96, body.width),
    )


@functools.cache
def _skins(body: _Body, paint: tuple[int, int, int]) -> dict[str, tuple[np.ndarray, ...]]:
    """Return a vehicle's textures; few bodies and paints make them worth keeping."""
    colour = srgb(*paint)
    # Upward faces mirror the sky.
    plain = plain_texture(8, 8, colour * 1.1 + srgb(50, 58, 66))
    textures = {
        'side': _side_texture(body, colour),
        'cabin': _cabin_texture(body, colour),
        'plain': plain,
        'window': _window_texture(colour),
        'tail': _end_texture(body, colour, True),
        'nose': _end_texture(body, colour, False),
    }
    return {name: mip_levels(texture) for name, texture in textures.items()}


def _side_texture(body: _Body, paint: np.ndarray) -> np.ndarray:
    """Return a vehicle's side below the windows, heading right."""
    texture = plain_texture(int(body.belt * _CAR_SCALE), int(body.length * _CAR_SCALE), paint)
    h, w = texture.shape[:2]
    texture[..., :3] *= np.linspace(1.2, 0.7, h)[:, None, None]
    texture[int(0.1 * h) : int(0.16 * h), :, :3] *= 1.3
    texture[-int(0.28 * _CAR_SCALE) :, :, :3] = 0.012
    texture[-int(0.12 * _CAR_SCALE) :, :, 3] = 0
    for _, x in body.panes:
        texture[:-12, int(x * w) : int(x * w) + 1, :3] *= 0.4
    dark, rim = (0.008, 0.008, 0.008, 1.0), (0.16, 0.16, 0.16, 1.0)
    for x in (0.19, 0.82):
        hub = (int(x * w), int(h - body.wheel * _CAR_SCALE))
        for share, colour in ((1.12, dark), (0.62, rim), (0.2, dark)):
            radius = int(body.wheel * share * _CAR_SCALE)
            cv2.circle(texture, hub, radius, colour, -1)
    return cv2.GaussianBlur(texture, (3, 3), 0)  # OpenCV smooths no edges of float pictures


def _cabin_texture(body: _Body, paint: np.ndarray) -> np.ndarray:
    texture = plain_texture(24, 64, paint)
    for start, stop in body.panes:
        pane = texture[3:-1, int(start * 64) : int(stop * 64), :3]
        pane[:] = srgb(*_GLASS)
        pane[:9] *= 2.2
    return texture


def _end_texture(body: _Body, paint: np.ndarray, rear: bool) -> np.ndarray:
    """Return a vehicle's tail or nose with lamps, number plate, bumper and tyres."""
    texture = plain_texture(int(body.belt * _CAR_SCALE), int(body.width * _CAR_SCALE), paint)
    h, w = texture.shape[:2]
    texture[..., :3] *= np.linspace(1.1, 0.75, h)[:, None, None]
    lamp = srgb(150, 22, 20) if rear else srgb(190, 195, 200)
    lamp_rows = slice(int(0.05 * h), int(0.4 * h)) if rear else slice(int(0.2 * h), int(0.38 * h))
    for columns in (slice(2, int(0.17 * w)), slice(int(0.83 * w), w - 2)):
        texture[lamp_rows, columns, :3] = lamp
    if not rear:
        texture[int(0.25 * h) : int(0.5 * h), int(0.22 * w) : int(0.78 * w), :3] = 0.02
    plate = int((0.4 if rear else 0.58) * h)
    texture[plate : plate + 5, int(0.35 * w) : int(0.65 * w), :3] = srgb(210, 210, 200)
    texture[int(0.62 * h) : int(0.65 * h), :, :3] *= 0.3
    texture[-int(0.32 * _CAR_SCALE) :, :, :3] = 0.01
    texture[-int(0.09 * _CAR_SCALE) :, int(0.14 * w) : int(0.86 * w), 3] = 0
    return texture


def _window_texture(paint: np.ndarray) -> np.ndarray:
    texture = plain_texture(16, 32, paint)
    texture[1:-1, 2:-2, :3] = srgb(*_GLASS)
    texture[1:8, 2:-2, :3] *= 2.5
    return texture
