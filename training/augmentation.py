"""
Images and labels as another camera, on another day, would have taken them.

`view` moves the camera; `looks` changes light, weather and the camera's electronics. Both draw
everything from one generator, so the same generator state gives the same picture.
"""

from __future__ import annotations

import cv2
import numpy as np

from road_seg_ros.metrics import NOT_SCORED

# Of the scale at which the network sees a whole image: from wide-angle lenses to long ones.
ZOOM, OWN_ZOOM = (0.8, 1.8), (0.85, 1.3)
# Width against height. A higher camera makes the ground taller in the image, a lower one flatter.
STRETCH, OWN_STRETCH = (0.75, 1.35), (0.87, 1.15)
PITCH, YAW, ROLL = np.radians((4.0, 4.0, 4.0))  # at most, either way
FOCAL_LENGTH = 0.58  # of the image's width: KITTI's, a good guess for other cameras
# KITTI's annotators stopped short of the image's lower edge, by a few rows. Views with that edge
# in its place keep it; others must not learn that road ends where the picture does.
EDGE = 8  # px
OWN_VIEWS = 0.7  # of the views that have about the shape of the image


def view(
    image: np.ndarray,
    label: np.ndarray,
    size: tuple[int, int],
    pixels: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """
    Return image and label as this camera or another one would have taken them.

    image: uint8 (H, W, 3); label: uint8 (H, W). size: (height, width) of what is returned, a
    crop where it is smaller than the zoomed image. pixels: how many the network wants of a whole
    image. Where the shape of the view is about that of the image, OWN_VIEWS of the views are the
    camera's own. Half of all are mirrored. What lies outside the image is a reflection of it
    and NOT_SCORED.
    """
    height, width = label.shape
    same_shape = abs(np.log(width / height * size[0] / size[1])) < np.log(1.15)
    if same_shape and rng.random() < OWN_VIEWS:
        matrix = _own_view(height, width, size, pixels, rng)
    else:
        matrix = _other_view(height, width, size, pixels, rng)
        inner = np.full_like(label, NOT_SCORED)
        inner[:-EDGE, EDGE:-EDGE] = label[:-EDGE, EDGE:-EDGE]
        label = inner
    image, label = warp(image, label, matrix, size)
    if rng.random() < 0.5:
        image, label = cv2.flip(image, 1), cv2.flip(label, 1)
    return image, label


def _own_view(
    height: int, width: int, size: tuple[int, int], pixels: int, rng: np.random.Generator
) -> np.ndarray:
    """Return a (3, 3) map: a crop on the image's lower edge, at nearly the network's scale."""
    scale = np.sqrt(pixels / (height * width)) * np.exp(rng.uniform(*np.log(OWN_ZOOM)))
    stretch = np.sqrt(np.exp(rng.uniform(*np.log(OWN_STRETCH))))
    x_scale = max(scale * stretch, size[1] / width)  # the view is never wider than the image
    y_scale = max(scale / stretch, size[0] / height)
    # Often at the left or right edge itself.
    along = np.clip(rng.uniform(-0.25, 1.25), 0, 1)
    x_offset = along * (x_scale * width - size[1])
    y_offset = y_scale * height - size[0]
    return np.array([[x_scale, 0, -x_offset], [0, y_scale, -y_offset], [0, 0, 1.0]])


def _other_view(
    height: int, width: int, size: tuple[int, int], pixels: int, rng: np.random.Generator
) -> np.ndarray:
    """
    Return a (3, 3) map: through another lens, from another height, looking elsewhere.

    Rotations of the camera are exact homographies, K R K^-1 (Hartley & Zisserman, 2004, section
    8.4); its height is approximated by the stretch.
    """
    scale = np.sqrt(pixels / (height * width)) * np.exp(rng.uniform(*np.log(ZOOM)))
    stretch = np.sqrt(np.exp(rng.uniform(*np.log(STRETCH))))
    rotate = _rotation(height, width, rng.uniform(-1, 1, 3) * (PITCH, YAW, ROLL))
    zoom = np.diag((scale * stretch, scale / stretch, 1.0)) @ rotate

    corners = np.array([[[0, 0], [width, 0], [width, height], [0, height]]], np.float64)
    corners = cv2.perspectiveTransform(corners, zoom)[0]
    low, high = corners.min(0), corners.max(0)
    # Slide the smaller of view and image along the larger: neither sticks out at both ends.
    room = high - low - (size[1], size[0])
    corner = low + rng.uniform(0, 1, 2) * room
    return np.array([[1, 0, -corner[0]], [0, 1, -corner[1]], [0, 0, 1.0]]) @ zoom


def warp(
    image: np.ndarray, label: np.ndarray, matrix: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """
    Return image (uint8 (h, w, 3)) and label (uint8 (h, w)) under a homography.

    matrix: (3, 3), from the image to the result, whose (height, width) is size, in coordinates
    in which the first pixel covers 0..1. Labels are never interpolated.
    """
    target = (size[1], size[0])
    label = cv2.warpPerspective(
        label, _of_centers(matrix), target, flags=cv2.INTER_NEAREST, borderValue=NOT_SCORED
    )
    # Linear interpolation leaves pixels out below half size: shrink with an area average before.
    shrink = min(1.0, 1.3 * np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
    if shrink < 0.8:
        small = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        ratio = np.array((image.shape[1], image.shape[0])) / (small.shape[1], small.shape[0])
        image, matrix = small, matrix @ np.diag((*ratio, 1.0))
    image = cv2.warpPerspective(
        image,
        _of_centers(matrix),
        target,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return image, label


def _of_centers(matrix: np.ndarray) -> np.ndarray:
    """Return the same map in OpenCV's coordinates, in which the first pixel's centre is 0."""
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
    return np.linalg.inv(half) @ matrix @ half


def _rotation(height: int, width: int, angles: np.ndarray) -> np.ndarray:
    """Return K R K^-1 for small rotations about the camera's x, y and z axes (rad)."""
    focal = FOCAL_LENGTH * max(height, width)
    camera = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    return camera @ cv2.Rodrigues(angles)[0] @ np.linalg.inv(camera)


def looks(image: np.ndarray, label: np.ndarray, rng: np.random.Generator, weather: bool) -> None:
    """
    Change image (uint8 (H, W, 3) RGB) and label (uint8 (H, W)) in place.

    weather adds, to half of the images, what KITTI's sunny days lack: low sun, dusk, fog, rain,
    hard shadows, other colour balance, noise and compression; and cut-out patches, whose label
    becomes NOT_SCORED.
    """
    weather = weather and rng.random() < 0.5
    if weather:
        for effect, probability in WEATHER:
            if rng.random() < probability:
                image[:] = np.clip(effect(image.astype(np.float32), rng), 0, 255).round()
    image[:] = tone_and_color(image, rng)
    if rng.random() < 0.2:
        image[:] = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.1, 1.5))
    if weather and rng.random() < 0.2:
        jpeg = cv2.imencode('.jpg', image, (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 80))))
        image[:] = cv2.imdecode(jpeg[1], cv2.IMREAD_COLOR)  # the channels' order hardly matters
    if weather and rng.random() < 0.15:
        cut_out(image, label, rng)


def tone_and_color(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """
    Vary brightness, contrast, saturation and hue; one image in twenty loses its colour.

    image: uint8 (H, W, 3) RGB; returns the same.
    """
    brightness, contrast = rng.uniform(0.6, 1.4, 2)
    levels = np.arange(256) * brightness
    mean = image.mean() * brightness
    image = cv2.LUT(image, np.clip(mean + contrast * (levels - mean), 0, 255).astype(np.uint8))
    hue = rng.integers(-10, 11)  # of 256
    saturation = 0.0 if rng.random() < 0.05 else rng.uniform(0.5, 1.5)
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(hue % 256)  # wraps, as a circle of colours should
    table = np.clip(np.arange(256) * saturation, 0, 255).astype(np.uint8)
    hsv[..., 1] = cv2.LUT(np.ascontiguousarray(hsv[..., 1]), table)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def shadow(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Darken a polygon, as a building or a tree does; shade is a little blue."""
    height, width = image.shape[:2]
    corners = rng.uniform((-0.3 * width, 0.2 * height), (1.3 * width, 1.2 * height), (5, 2))
    shape = np.zeros((height, width), np.float32)
    cv2.fillPoly(shape, [cv2.convexHull(corners.astype(np.int32))], 1.0)
    shape = cv2.GaussianBlur(shape, (0, 0), rng.uniform(0.5, 6))[..., None]
    depth = rng.uniform(0.25, 0.65) * np.array((1.05, 1.0, 0.9), np.float32)
    return image * (1 - shape * depth)


def low_sun(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Look towards a low sun: a bright disc, flare over everything, dark ground."""
    height, width = image.shape[:2]
    x = np.arange(width, dtype=np.float32) - rng.uniform(0, width)
    y = np.arange(height, dtype=np.float32)[:, None] - rng.uniform(-0.1, 0.5) * height
    distance = np.hypot(x, y) / np.hypot(width, height)
    glow = np.exp(-distance / rng.uniform(0.08, 0.3))[..., None]
    color = np.array((255, rng.uniform(215, 250), rng.uniform(150, 235)), np.float32)
    return image * rng.uniform(0.5, 1.0) + rng.uniform(0.5, 1.2) * glow * color


def dusk(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Darken by a gamma, take colour away and flatten: a camera at its limit."""
    gray = image.mean(2, keepdims=True)
    image = gray + rng.uniform(0.2, 0.8) * (image - gray)
    image = 255 * (image / 255) ** rng.uniform(1.2, 2.5)
    return rng.uniform(0, 25) + rng.uniform(0.6, 1.0) * image


def bright(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Overexpose: lift the shadows and clip the lights."""
    return 255 * rng.uniform(1.0, 1.4) * (image / 255) ** rng.uniform(0.5, 0.9)


def fog(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Veil the image in grey, more towards the top where the distance is."""
    height = image.shape[0]
    down = np.linspace(1, 0, height, dtype=np.float32)[:, None, None]
    veil = rng.uniform(0.1, 0.4) + rng.uniform(0, 0.4) * down
    return image * (1 - veil) + rng.uniform(130, 230) * veil


def rain(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add slanted streaks to a duller image."""
    height, width = image.shape[:2]
    drops = (rng.random((height, width)) > rng.uniform(0.985, 0.998)).astype(np.float32)
    length = int(rng.integers(5, 15))
    kernel = np.zeros((length, length), np.float32)
    slant = int(rng.integers(-2, 3))
    cv2.line(kernel, (length // 2 - slant, 0), (length // 2 + slant, length - 1), 1.0)
    streaks = np.minimum(cv2.filter2D(drops, -1, kernel), 1)[..., None]
    return image * rng.uniform(0.6, 0.95) + streaks * rng.uniform(30, 90)


def color_balance(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Give each channel its own gain; now and then one is lost."""
    gain = rng.uniform(0.75, 1.25, 3)
    if rng.random() < 0.1:
        gain[rng.integers(3)] = 0
    return image * gain.astype(np.float32)


def noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add normal noise of up to 18 grey levels."""
    return image + rng.standard_normal(image.shape, np.float32) * rng.uniform(2, 18)


def cut_out(image: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> None:
    """Replace a rectangle by one colour, in place; it is not scored (DeVries & Taylor, 2017)."""
    height, width = label.shape
    tall, wide = int(rng.uniform(0.1, 0.4) * height), int(rng.uniform(0.05, 0.25) * width)
    top, left = rng.integers(height - tall + 1), rng.integers(width - wide + 1)
    image[top : top + tall, left : left + wide] = rng.integers(0, 256, 3)
    label[top : top + tall, left : left + wide] = NOT_SCORED


# In the order in which light meets them: scene, weather, sensor.
WEATHER = (
    (shadow, 0.25),
    (low_sun, 0.12),
    (dusk, 0.15),
    (fog, 0.12),
    (rain, 0.08),
    (bright, 0.12),
    (color_balance, 0.3),
    (noise, 0.2),
)
