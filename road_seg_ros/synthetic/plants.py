"""Trees and bushes."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from road_seg_ros.synthetic.noise import cut_noise
from road_seg_ros.synthetic.panels import Thing
from road_seg_ros.synthetic.textures import foliage, mip_levels, srgb
from road_seg_ros.synthetic.world import World

_TREES, _BUSHES = 10, 5  # textures kept in memory; tint and size vary their looks


def make_plant(
    rng: np.random.Generator, world: World, foot: np.ndarray, height: float, bush: bool = False
) -> Thing:
    """Return a tree or bush of `height` metres at `foot`, a ground point (3,)."""
    sprite = _bush(int(rng.integers(_BUSHES))) if bush else _tree(int(rng.integers(_TREES)))
    leaf = world.leaf * rng.lognormal(0, 0.2) * (1 + rng.normal(0, 0.08, 3).astype(np.float32))
    width = height * (rng.uniform(1.3, 2.2) if bush else rng.uniform(0.7, 1.0))
    mirrored = -1 if world.light.to_sun[0] > 0 else 1
    return Thing(
        foot, height, sprite=sprite, sprite_width=mirrored * width, tint=leaf, crown=0.36 * width
    )


@functools.cache
def _tree(kind: int) -> tuple[np.ndarray, ...]:
    """Return a tree sprite: leaf brightness as grey where leafy, bark as brown."""
    rng = np.random.default_rng([11, kind])
    h, w = 480, 384
    sprite = np.zeros((h, w, 4), np.float32)
    conifer = kind % 5 == 4
    lean = rng.uniform(-12, 12)
    bark = tuple(float(c) for c in srgb(68, 58, 53) * 4)
    trunk = rng.uniform(6, 11)
    crown_base = rng.uniform(0.62, 0.92) * h
    points = np.array(
        [
            (w / 2 - trunk, h),
            (w / 2 + trunk, h),
            (w / 2 + lean + 3, h * 0.35),
            (w / 2 + lean - 3, h * 0.35),
        ]
    )
    cv2.fillPoly(sprite, [points.astype(np.int32)], (*bark, 1.0), cv2.LINE_AA)
    # OpenCV smooths no edges of float pictures.
    sprite = cv2.GaussianBlur(sprite, (5, 5), 0)
    leaves = foliage(rng, (h, w))
    ragged = cut_noise(rng, (h, w), 1.0) * 0.25 + cut_noise(rng, (h, w), 4.0) * 0.3
    yy, xx = np.mgrid[0:h, 0:w].astype(np.float32)
    for depth in np.sort(rng.uniform(0, 1, 90)):
        level = rng.uniform(0, 1)
        spread = (1 - level) * 0.8 + 0.08 if conifer else np.sqrt(1 - (2 * level - 1) ** 2 * 0.8)
        angle = rng.uniform(-1, 1)
        cx = w / 2 + lean + angle * spread * w * 0.34
        cy = crown_base - level * (crown_base - 0.12 * h)
        radius = rng.uniform(0.045, 0.11) * h * (0.7 if conifer else 1.0)
        box = (
            slice(max(int(cy - 1.6 * radius), 0), int(cy + 1.6 * radius)),
            slice(max(int(cx - 1.6 * radius), 0), int(cx + 1.6 * radius)),
        )
        dx, dy = (xx[box] - cx) / radius, (yy[box] - cy) / radius
        solid = np.clip((1 - np.hypot(dx, dy) + ragged[box]) * 4, 0, 1)[..., None]
        # The library is lit from the upper left; sprites are mirrored to suit the sun.
        lit = 0.25 + 0.75 * depth * np.clip(0.6 - 0.4 * dx - 0.55 * dy, 0.12, 1.4)
        tone = np.repeat((lit * leaves[box])[..., None], 4, 2)
        tone[..., 3] = 1
        sprite[box] += solid * (tone - sprite[box])
    return mip_levels(sprite)


@functools.cache
def _bush(kind: int) -> tuple[np.ndarray, ...]:
    """Return a bush sprite, leaf brightness as grey, twice as wide as tall."""
    rng = np.random.default_rng([13, kind])
    h, w = 128, 256
    yy, xx = np.mgrid[0:h, 0:w].astype(np.float32)
    top = 0.35 + 0.12 * cut_noise(rng, (1, w), 12.0)
    dome = 1 - ((xx - w / 2) / (w / 2)) ** 4
    rise = (1 - yy / h) - dome * (1 - top) + 0.07 * cut_noise(rng, (h, w), 1.0)
    sprite = np.empty((h, w, 4), np.float32)
    sprite[..., :3] = (foliage(rng, (h, w)) * np.clip(1.15 - yy / h, 0.15, 1))[..., None]
    sprite[..., 3] = np.clip(-rise * 12, 0, 1)
    return mip_levels(sprite)
