"""Paint things over the ground, the farthest first."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from road_seg_ros.synthetic.camera import Camera
from road_seg_ros.synthetic.panels import Panel, Thing, cross
from road_seg_ros.synthetic.sky import AIRLIGHT
from road_seg_ros.synthetic.world import FAR, UP, Light

_NEAR = 0.25  # m; planes are clipped here, in front of the camera
_LOW_FAR = 95.0  # m; vehicles and people beyond are hidden by others as a rule
_SMALLEST = 4  # px; lower things are left out
_THINNEST = 0.7  # px; panels narrower or lower than this are not worth drawing
_OUTSIDE = 20000.0  # px; outlines are cut here: OpenCV takes their points as fixed-point integers


@dataclass
class Canvas:
    """
    The frame being painted, float32: radiance (3, H, W), BGR, and inverse depth (H, W) in 1/m.

    Inverse depth is 0 for ground and sky: everything else stands in front of them.

    Colour planes are kept apart until the end: numpy is several times faster on them.
    """

    radiance: np.ndarray
    inverse_depth: np.ndarray


def in_view(camera: Camera, thing: Thing) -> bool:
    """Tell whether any of a thing may be seen, and is large enough to matter."""
    right, _, depth = camera.rotation @ (thing.base - camera.position)
    reach = max(thing.height, abs(thing.sprite_width), 16.0 if thing.solid else 6.0)
    tall = thing.height * camera.focal > _SMALLEST * depth
    if thing.low and depth > _LOW_FAR:
        return False
    edge = 0.5 * camera.width / camera.focal * max(depth, 0) + reach
    return bool(-reach < depth < FAR and abs(right) < edge and tall)


def draw_thing(
    canvas: Canvas, camera: Camera, matrix: np.ndarray, thing: Thing, light: Light, sunlit: float
) -> None:
    """
    Paint a thing, its visible faces or its sprite, where nothing nearer has been painted.

    `matrix` is the camera's, from `Camera.project_matrix`; `sunlit` is the share of the sun that
    reaches the thing, 0 to 1.
    """
    if thing.sprite:
        right = camera.rotation[0] * thing.sprite_width
        panel = Panel(
            thing.base + UP * thing.height - right / 2, right, -UP * thing.height, thing.sprite
        )
        sun = light.sun * (0.25 + 0.5 * sunlit) if thing.crown else light.sun * 0.5 * sunlit
        _draw(canvas, camera, matrix, panel, light, (0.6 * light.ambient + sun) * thing.tint)
        return
    for n, panel in enumerate(thing.panels):
        to_camera = camera.position - panel.middle
        if thing.solid:
            out = thing.outward[n]
        else:
            out = panel.normal * np.sign(panel.normal @ to_camera)
        if out @ to_camera <= 0:
            continue
        sun = light.sun * max(out @ light.to_sun, 0) * sunlit
        sky = light.ambient * (0.62 + 0.38 * out[2])
        _draw(canvas, camera, matrix, panel, light, (sky + sun) * thing.tint)


def _draw(
    canvas: Canvas,
    camera: Camera,
    matrix: np.ndarray,
    panel: Panel,
    light: Light,
    irradiance: np.ndarray,
) -> None:
    """Paint a panel where nothing nearer has been painted."""
    plane = np.empty((3, 3))
    plane[:, 0], plane[:, 1] = panel.right, panel.down
    plane[:, 2] = panel.origin - camera.position
    to_image = matrix @ plane  # from units of the edges to homogeneous pixels
    corners = panel.outline_points @ to_image[:, :2].T + to_image[:, 2]
    if corners[:, 2].min() < _NEAR:
        corners = _clip_near(corners)
        if len(corners) < 3:
            return
    pixels = corners[:, :2] / corners[:, 2:]
    pixels = np.minimum(np.maximum(pixels, -_OUTSIDE), _OUTSIDE)
    low, high = pixels.min(0).tolist(), pixels.max(0).tolist()
    x0, y0 = (max(int(a) - 1, 0) for a in low)
    x1, y1 = min(int(high[0]) + 2, camera.width), min(int(high[1]) + 2, camera.height)
    too_thin = min(high[0] - low[0], high[1] - low[1]) < _THINNEST
    if x0 >= x1 or y0 >= y1 or too_thin:
        return
    to_image[0] -= x0 * to_image[2]
    to_image[1] -= y0 * to_image[2]
    facing = cross(to_image[:, 0], to_image[:, 1])
    volume = facing @ to_image[:, 2]
    if abs(volume) < 1e-9:
        return
    # 1 / depth is linear in the pixel: the last row of the inverse homography.
    a, b, c = (facing / volume).astype(np.float32)
    inverse_depth = np.arange(x1 - x0, dtype=np.float32) * a + (
        np.arange(y1 - y0, dtype=np.float32)[:, None] * b + c
    )
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    cv2.fillPoly(mask, [np.round((pixels - (x0, y0)) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)

    th, tw = panel.texture[0].shape[:2]
    area = max((high[0] - low[0]) * (high[1] - low[1]), 1.0)
    level = int(0.5 * math.log2(max(th * tw / area, 1.0)) + 0.3)
    texture = panel.texture[min(level, len(panel.texture) - 1)]
    th, tw = texture.shape[:2]
    texels = to_image @ np.array([[1 / tw, 0, 0.5 / tw], [0, 1 / th, 0.5 / th], [0, 0, 1]])
    *colours, alpha = cv2.split(
        cv2.warpPerspective(
            texture,
            texels,
            (x1 - x0, y1 - y0),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
    )
    held = canvas.inverse_depth[y0:y1, x0:x1]
    alpha *= mask * np.float32(1 / 255)
    alpha *= inverse_depth > held * np.float32(0.998)
    clear = math.exp(-max(corners[0, 2], _NEAR) / light.haze)
    for i, plane in enumerate(canvas.radiance[:, y0:y1, x0:x1]):
        colour = colours[i]
        colour *= float(irradiance[i]) * clear
        colour += float((1 - clear) * AIRLIGHT * light.horizon[i])
        colour -= plane
        colour *= alpha
        plane += colour
    np.copyto(held, inverse_depth, where=alpha > 0.5)


def _clip_near(points: np.ndarray) -> np.ndarray:
    """Cut a polygon (n, 3) of homogeneous pixels where the depth falls below `_NEAR`."""
    kept = []
    for a, b in zip(np.roll(points, 1, 0), points, strict=True):
        if (a[2] < _NEAR) != (b[2] < _NEAR):
            kept.append(a + (b - a) * (_NEAR - a[2]) / (b[2] - a[2]))
        if b[2] >= _NEAR:
            kept.append(b)
    return np.array(kept).reshape(-1, 3)
