"""
Colours, and textures that several kinds of things share.

A texture is float32 (h, w, 4): linear BGR albedo, or brightness to be tinted, and alpha.
"""

from __future__ import annotations

import cv2
import numpy as np

from road_seg_ros.synthetic.noise import cut_noise

PLASTERS = (
    (205, 195, 175),
    (190, 175, 145),
    (215, 212, 205),
    (150, 95, 75),
    (175, 150, 130),
    (165, 165, 160),
    (120, 75, 60),
    (200, 180, 140),
    (140, 130, 120),
)


def srgb(red: float, green: float, blue: float) -> np.ndarray:
    """Return a screen colour, 0 to 255, as linear BGR albedo, float32 (3,)."""
    return (np.array([blue, green, red], np.float32) / 255) ** np.float32(2.2)


def mip_levels(texture: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return a texture at full size, at half, at a quarter and so on, float32 (h, w, 4) each."""
    levels = [np.ascontiguousarray(texture, np.float32)]
    while min(levels[-1].shape[:2]) > 3:
        h, w = levels[-1].shape[:2]
        levels.append(cv2.resize(levels[-1], (w // 2, h // 2), interpolation=cv2.INTER_AREA))
    return tuple(levels)


def plain_texture(height: int, width: int, colour: np.ndarray) -> np.ndarray:
    """Return an opaque texture, float32 (height, width, 4), of one BGR colour."""
    texture = np.ones((height, width, 4), np.float32)
    texture[..., :3] = colour
    return texture


def foliage(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Return the brightness of foliage, float32 (h, w): dark gaps, bright clusters of leaves."""
    fine = cut_noise(rng, shape, 0.7) + 0.9 * cut_noise(rng, shape, 3.0)
    return np.exp(0.55 * fine - 0.15)


def masonry(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Return a weathered wall of unit albedo, float32 (h, w, 4), of plaster or brick courses."""
    texture = plain_texture(*shape, np.ones(3, np.float32))
    stain = 1 + 0.05 * cut_noise(rng, shape, 1.0) + 0.09 * cut_noise(rng, shape, 9.0)
    if rng.random() < 0.4:
        stain[::3] *= 0.8
    stain *= np.linspace(1.05, 0.85, shape[0])[:, None]
    texture[..., :3] *= stain.clip(0.3, 1.6)[..., None]
    return texture
