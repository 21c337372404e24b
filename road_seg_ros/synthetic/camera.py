"""Where the camera is, and what it makes of the radiance that reaches it."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import cv2
import numpy as np

from road_seg_ros.synthetic.world import UP, World

_NORMAL_QUANTILES = np.array([NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)])


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: focal length and principal point in pixels, pose in metres, radians."""

    height: int
    width: int
    focal: float
    position: np.ndarray
    rotation: np.ndarray  # (3, 3), the rows are the camera's right, down and forward in the world

    def project_matrix(self) -> np.ndarray:
        """Return the float64 (3, 3) map from a world direction to homogeneous pixels."""
        intrinsics = np.array(
            [
                [self.focal, 0.0, (self.width - 1) / 2],
                [0.0, self.focal, (self.height - 1) / 2],
                [0.0, 0.0, 1.0],
            ]
        )
        return intrinsics @ self.rotation

    def rays(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, ...]:
        """
        Return the rays through pixels, to unit optical depth: world x, y and z.

        Each is float32 (rows, columns); `rows` and `columns` are pixel indices (n,).
        """
        back = np.linalg.inv(self.project_matrix()).astype(np.float32)
        px, py = columns.astype(np.float32), rows.astype(np.float32)[:, None]
        return tuple(row[0] * px + (row[1] * py + row[2]) for row in back)


@dataclass(frozen=True)
class Optics:
    """What the camera does to radiance; constant over a drive."""

    gain: np.ndarray  # exposure times white balance, BGR
    contrast: float
    gamma: float
    vignette: float
    blur: float  # px at 375 rows
    noise: float  # grey levels


def place_camera(
    world: World, height: int, width: int, along: float, rng: np.random.Generator, time: float
) -> Camera:
    """
    Return a camera in its lane at northing `along` (m) and `time` (s).

    `height` and `width` are the picture's, in pixels; `rng` draws what a drive keeps.
    """
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
    forward, right = (
        np.cos(yaw) * forward + np.sin(yaw) * right,
        np.cos(yaw) * right - np.sin(yaw) * forward,
    )
    forward, down = (
        np.cos(pitch) * forward - np.sin(pitch) * UP,
        -np.cos(pitch) * UP - np.sin(pitch) * forward,
    )
    right, down = (
        np.cos(roll) * right + np.sin(roll) * down,
        np.cos(roll) * down - np.sin(roll) * right,
    )
    return Camera(height, width, focal, ground + UP * rise, np.stack([right, down, forward]))


def pick_optics(rng: np.random.Generator, world: World) -> Optics:
    """Expose for the sunlit road, more or less well."""
    light = world.light
    road = float(np.mean((light.ambient + light.sun * light.to_sun[2]) * world.surface.colour))
    level = (rng.uniform(95, 175) / 255) ** 2.2
    balance = 1 + rng.normal(0, 0.03, 3)
    return Optics(
        gain=(level / road * balance).astype(np.float32),
        contrast=rng.uniform(1.0, 1.3),
        gamma=rng.uniform(1.9, 2.4),
        vignette=rng.uniform(0, 0.35),
        blur=rng.uniform(0.3, 0.8),
        noise=rng.uniform(1.5, 4.5),
    )


def expose(radiance: np.ndarray, optics: Optics, rng: np.random.Generator) -> np.ndarray:
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
    table = np.round(_NORMAL_QUANTILES * optics.noise).astype(np.int16)
    dice = np.frombuffer(rng.bytes(image.size), np.uint8).reshape(image.shape)
    return cv2.add(image, cv2.LUT(dice, table), dtype=cv2.CV_8U)
