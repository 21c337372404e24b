"""Shadows of things on the ground, and the light that is left there."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from road_seg_ros.synthetic.camera import Camera
from road_seg_ros.synthetic.ground import Ground
from road_seg_ros.synthetic.noise import noise
from road_seg_ros.synthetic.panels import Thing
from road_seg_ros.synthetic.world import BEHIND, World

_SHADOW_TEXEL = 0.16  # m; finer than the penumbra of a tree 10 m away
_SHADOW_SIZE = (800, 512)  # texels along and across the road: 128 m by 82 m


@dataclass(frozen=True)
class Shadows:
    """Shadows seen from above: uint8 (*_SHADOW_SIZE, 3), by things, by leaves and underneath."""

    corner: np.ndarray  # x, y of texel 0, 0
    layers: np.ndarray

    def sample(self, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
        """Return the three shadows, 0 to 1, at ground points (float32)."""
        u, v = (
            (a - np.float32(c)) * np.float32(1 / _SHADOW_TEXEL)
            for a, c in zip((x, y), self.corner, strict=True)
        )
        found = cv2.remap(self.layers, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        return [a * np.float32(1 / 255) for a in cv2.split(found)]


def cast_shadows(world: World, camera: Camera, things: list[Thing]) -> Shadows:
    """Draw the shadows of `things` from above, on texels fixed in the world."""
    span = np.array([_SHADOW_SIZE[1] / 2, BEHIND / _SHADOW_TEXEL])
    corner = (np.round(camera.position[:2] / _SHADOW_TEXEL) - span) * _SHADOW_TEXEL
    layers = [np.zeros(_SHADOW_SIZE, np.uint8) for _ in range(3)]
    hard, leafy, contact = layers
    sun = world.light.to_sun
    throw = -sun[:2] / sun[2]
    for thing in things:
        tip = throw * thing.height
        foot = (thing.footprint - corner) / _SHADOW_TEXEL
        if len(foot):
            hull = np.vstack([foot, foot + tip / _SHADOW_TEXEL]).astype(np.int32)
            cv2.fillConvexPoly(hard, cv2.convexHull(hull), 255)
            if thing.low:
                cv2.fillConvexPoly(contact, foot.astype(np.int32), 255)
        if thing.crown:
            low, high = ((thing.base[:2] + tip * k - corner) / _SHADOW_TEXEL for k in (0.35, 0.85))
            radius = thing.crown / _SHADOW_TEXEL
            for k in np.linspace(0, 1, 4):
                centre = (low + (high - low) * k).astype(int)
                cv2.circle(
                    leafy, (int(centre[0]), int(centre[1])), int(radius * (1.1 - 0.4 * k)), 255, -1
                )
            start = ((thing.base[:2] - corner) / _SHADOW_TEXEL).astype(int)
            cv2.line(hard, tuple(map(int, start)), tuple(map(int, low)), 200, 2)
    soft = [cv2.blur(a, (n, n)) for a, n in zip(layers, (3, 13, 5), strict=True)]
    return Shadows(corner, cv2.merge(soft))


def light_ground(world: World, ground: Ground, albedo: np.ndarray, shadows: Shadows) -> np.ndarray:
    """Light the ground's albedo, float32 (3, rows, W), in place and return it: now radiance."""
    hard, leafy, contact = shadows.sample(ground.x, ground.y)
    dapple = noise(ground.x, ground.y, 0.25) / (1 + (ground.coarse / 1.0) ** 2)
    leafy = np.clip((leafy - 0.45 + 0.22 * dapple) * 3 + 0.5, 0, 1) * np.minimum(leafy * 3, 1)
    sunlit = (1 - hard) * (1 - 0.92 * leafy) * world.light.to_sun[2]
    sky = 1 - 0.75 * contact - 0.15 * leafy
    for plane, sun, ambient in zip(albedo, world.light.sun, world.light.ambient, strict=True):
        plane *= sunlit * float(sun) + sky * float(ambient)
    return albedo
