"""A camera that looks straight ahead, and the bird's-eye view that it gives."""

from __future__ import annotations

import numpy as np

# It is 1.6 m above the road: a point of the road at (x, z) is at pixel
# (FOCAL * x / z + CENTER_U, FOCAL * 1.6 / z + CENTER_V). Odd numbers, so that no point lies on the
# border of two pixels, where rounding errors would decide.
FOCAL, CENTER_U, CENTER_V = 180.3719, 155.1373, 40.2917
CALIBRATION = f"""\
P2: {FOCAL} 0 {CENTER_U} 0 0 {FOCAL} {CENTER_V} 0 0 0 1 0
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_cam_to_road: 1 0 0 0 0 1 0 -1.6 0 0 1 0
"""


def seen_from_above(picture: np.ndarray, outside: int) -> np.ndarray:
    """Return the bird's-eye view that this camera gives, row by row."""
    height, width = picture.shape
    seen = np.full((800, 400), outside, np.uint8)
    x = np.linspace(-9.975, 9.975, 400)
    for row in range(800):
        z = 45.975 - 0.05 * row
        u, v = FOCAL * x / z + CENTER_U, FOCAL * 1.6 / z + CENTER_V
        shown = (u >= 1) & (u <= width) & (1 <= v <= height)
        seen[row, shown] = picture[int(v) - 1, u[shown].astype(int) - 1]
    return seen
