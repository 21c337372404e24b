"""Sky, clouds, the far skyline, and haze."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from road_seg_ros.synthetic.camera import Camera
from road_seg_ros.synthetic.noise import noise
from road_seg_ros.synthetic.world import FAR, Light, World

AIRLIGHT = 0.6  # radiance of haze, as a share of the horizon's


def fade(radiance: Iterable[np.ndarray], light: Light, depth: np.ndarray | float) -> None:
    """
    Fade radiance `depth` metres away, in place, towards the air's own brightness.

    `radiance` is three planes, B, G and R, float32 (rows, W); `depth` is float32 (rows, W), or one
    for all.
    """
    clear = np.exp(depth * np.float32(-1 / light.haze))
    murk = 1 - clear
    for plane, horizon in zip(radiance, light.horizon, strict=True):
        plane *= clear
        plane += murk * np.float32(AIRLIGHT * horizon)


def render_sky(world: World, camera: Camera, rows: int) -> np.ndarray:
    """
    Return the BGR radiance of sky, clouds and the far skyline in the picture's top `rows`.

    It is float32 (3, rows, W).
    """
    light = world.light
    # Nothing up there is sharp: half the resolution will do.
    x, y, z = camera.rays(np.arange(0, rows + 1, 2), np.arange(0, camera.width + 1, 2))
    level = np.sqrt(x * x + y * y)
    rise = z / level
    blend = np.sqrt(np.clip(rise * 2.5, 0, 1))
    up = np.maximum(rise, 0.02) * level
    cloud = noise(x / up, y / up, 1.2) + 0.5 * noise(x / up, y / up, 0.3) + light.clouds - 1
    cloud = np.clip(cloud * 0.4, 0, 0.85)
    length = np.sqrt(level * level + z * z)
    toward = (x * light.to_sun[0] + y * light.to_sun[1] + z * light.to_sun[2]) / length
    glow = np.clip(toward, 0, 1).astype(np.float32) ** 24
    turn = x / np.maximum(y, 0.05)
    flat = np.zeros_like(turn)
    top = 0.035 + 0.014 * noise(turn, flat, 0.25) + 0.006 * noise(turn, flat, 0.015)
    leaves = np.exp(0.5 * noise(turn, rise, 0.006) + 0.3 * noise(turn, rise, 0.05))
    mask = np.clip((top - rise) * camera.focal * 0.5, 0, 1)
    lit = world.leaf * (0.6 * light.ambient + 0.3 * light.sun)
    skyline = [leaves * float(c) for c in lit]
    fade(skyline, light, FAR)
    planes = []
    for i in range(3):
        low, high, sun = (float(c[i]) for c in (light.horizon, light.zenith, light.sun))
        sky = low + (high - low) * blend
        sky += cloud * (low + 0.2 * sun - sky) + glow * sun
        planes.append(sky + mask * (skyline[i] - sky))
    small = cv2.merge(planes)
    full = cv2.resize(small, (2 * small.shape[1], 2 * small.shape[0]))
    return full[:rows, : camera.width].transpose(2, 0, 1)
