"""
What roads abroad have and KITTI's lack: other lines, the own bonnet in view, other textures.

A network that has only seen KITTI takes a yellow line for the end of the road and the own
dashboard for a part of it. Images in the shape of KITTI's camera are left as they are, because
changes of them cost the scores on KITTI itself.
"""

from __future__ import annotations

import cv2
import numpy as np

from road_seg_ros.metrics import NOT_ROAD, ROAD

LINES, BONNET, TEXTURE = 0.5, 0.3, 0.15  # probabilities

WHITE, YELLOW = (1.0, 1.0, 0.97), (1.0, 0.78, 0.25)  # RGB


def change(image: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> None:
    """Change image (uint8 (H, W, 3) RGB) and label (uint8 (H, W)) in place, or leave them."""
    if rng.random() < LINES:
        for _ in range(rng.integers(1, 4)):
            paint_line(image, label, rng)
    if rng.random() < TEXTURE:
        image[:] = other_texture(image, rng)
    if rng.random() < BONNET:
        put_bonnet(image, label, rng)


def paint_line(image: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> None:
    """
    Paint a line along the road, in place: white or yellow, single or double, solid or dashed.

    It runs from the lower edge, or beside it, straight to where the road ends, and narrows in
    perspective. Only road is painted; the label stays as it is.
    """
    height, width = label.shape
    rows = np.flatnonzero((label == ROAD).any(1))
    if len(rows) < max(1, height // 8):
        return
    far = rows[0]
    end = np.flatnonzero(label[far] == ROAD).mean()
    foot = rng.uniform(-0.4, 1.4) * width  # where it crosses the lower edge
    half = rng.uniform(0.004, 0.015) * width
    offsets = (-2 * half, 2 * half) if rng.random() < 0.4 else (0.0,)
    painted = np.zeros((height, width), np.uint8)
    for offset in offsets:
        left, right = foot + offset - half, foot + offset + half
        corners = np.array([[end, far], [right, height], [left, height]])
        cv2.fillPoly(painted, [np.round(corners * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    if rng.random() < 0.4:
        # Distance on the ground goes with one over the rows below the horizon.
        distance = rng.uniform(3, 8) * height / (np.arange(height) - far + 0.03 * height).clip(1)
        painted[(distance + rng.uniform()) % 1 > rng.uniform(0.3, 0.7)] = 0
    painted[label != ROAD] = 0
    around = image[label == ROAD].mean()
    light = min(255.0, around * rng.uniform(1.4, 2.6))
    color = light * np.array(YELLOW if rng.random() < 0.5 else WHITE)
    share = painted[..., None] * (rng.uniform(0.5, 1.0) / 255)
    image[:] = (image * (1 - share) + color * share).round()


def put_bonnet(image: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> None:
    """
    Cover the lower edge with the own vehicle's bonnet or dashboard, in place; it is NOT_ROAD.

    A body of one colour, lighter or darker towards the edge, streaked across, that mirrors some
    of the scene.
    """
    height, width = label.shape
    x = np.arange(width, dtype=np.float32) / width
    rise = rng.uniform(0.04, 0.28) * height
    crown = rng.uniform(0, 1.2) * (2 * (x - rng.uniform(0.3, 0.7))) ** 2
    edge = height - rise * (1 - crown).clip(0)  # the bonnet's upper edge, row by column
    below = np.arange(height, dtype=np.float32)[:, None] - edge
    covered = below.clip(0, 1)[..., None]  # softened over a pixel

    dark = rng.random() < 0.6
    body = np.full(3, rng.uniform(5, 70)) if dark else rng.uniform(0, 255, 3)
    shade = 1 + rng.uniform(-0.7, 0.7) * (below / rise).clip(0, 1)[..., None]
    streaks = rng.uniform(0, 25) * rng.standard_normal((height, 1))
    streaks = cv2.GaussianBlur(streaks, (0, 0), rng.uniform(0.5, 4)).reshape(height, 1, 1)
    mirrored = cv2.GaussianBlur(cv2.flip(image, 0), (0, 0), rng.uniform(1, 12))
    gloss = rng.uniform(0, 0.5)
    bonnet = (1 - gloss) * (body * shade + streaks) + gloss * mirrored
    image[:] = (image * (1 - covered) + bonnet.clip(0, 255) * covered).round()
    label[below > 0.5] = NOT_ROAD


def other_texture(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """
    Return the image, uint8 (H, W, 3), blended with itself under a random small convolution.

    Shapes stay, local texture and colour do not: Xu et al., "Robust and Generalizable Visual
    Representation Learning via Random Convolutions", ICLR 2021. Mean and spread are kept.
    """
    size = int(rng.choice((1, 3, 5)))
    pixels = image.astype(np.float32)
    changed = np.empty_like(pixels)
    for channel in range(3):
        kernels = rng.standard_normal((3, size, size)).astype(np.float32)
        total = sum(cv2.filter2D(pixels[..., i], -1, kernels[i]) for i in range(3))
        mean, spread = cv2.meanStdDev(total)
        wanted, wanted_spread = pixels[..., channel].mean(), pixels[..., channel].std()
        changed[..., channel] = (total - mean) * (wanted_spread / max(spread, 1e-3)) + wanted
    share = rng.uniform(0.1, 0.7)
    return np.clip(pixels * (1 - share) + changed * share, 0, 255).round().astype(np.uint8)
