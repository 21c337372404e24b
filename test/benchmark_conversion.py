"""
Measure how long images take from a message to BGR, and results back to a message.

    .venv/bin/python test/benchmark_conversion.py

KITTI-sized images, 1242x375, of every encoding, with OpenCV alone and with cv_bridge if there is
one that works. Prints Markdown tables of medians. Uses one thread, as a busy robot would.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from road_seg_ros.conversion import ENCODINGS, cv_bridge_conversion, find_problem
from road_seg_ros.image_msgs import (
    LAYOUTS,
    Conversion,
    compressed_to_bgr,
    image_to_bgr,
    opencv_to_bgr,
    to_image,
    to_jpeg,
)
from road_seg_ros.overlay import draw_overlay

HEIGHT, WIDTH = 375, 1242
REPEATS, WARM_UP = 200, 10


def median_ms(function: Callable[[], object]) -> float:
    """Return the median duration of a call."""
    durations = []
    for _ in range(WARM_UP + REPEATS):
        started = time.perf_counter()
        function()
        durations.append(1e3 * (time.perf_counter() - started))
    return float(np.median(durations[WARM_UP:]))


def noise(encoding: str, padding: int = 0) -> Image:
    """Return a message with random bytes; one row less for nv12, which needs even sides."""
    layout = LAYOUTS[encoding]
    height = HEIGHT - (layout.rows_per_2 == 3)
    step = WIDTH * layout.channels * np.dtype(layout.dtype).itemsize + padding
    message = Image(height=height, width=WIDTH, step=step, encoding=encoding)
    size = step * height * layout.rows_per_2 // 2
    message.data.frombytes(np.random.default_rng(0).bytes(size))
    return message


def conversions() -> dict[str, Conversion]:
    """Return the ways to convert colours that work here."""
    found = {'OpenCV': opencv_to_bgr}
    if importlib.util.find_spec('cv_bridge') is None:
        print('cv_bridge is not installed\n')
    elif problem := find_problem():
        print(f'cv_bridge does not work: {problem}\n')
    else:
        found['cv_bridge'] = cv_bridge_conversion()
    return found


def main() -> None:
    """Print the tables."""
    cv2.setNumThreads(1)
    found = conversions()
    print(f'| encoding | {" | ".join(f"{name}, ms" for name in found)} |')
    print(f'|---|{"---|" * len(found)}')
    cases = [(encoding, encoding, noise(encoding)) for encoding in LAYOUTS]
    cases += [(f'{e}, padded rows', e, noise(e, padding=38)) for e in ('bgr8', 'rgb8', 'mono16')]
    for name, encoding, message in cases:
        cells = [
            f'{median_ms(lambda m=message, c=convert: image_to_bgr(m, c)):.2f}'
            if convert is opencv_to_bgr or encoding in ENCODINGS
            else 'as OpenCV'
            for convert in found.values()
        ]
        print(f'| {name} | {" | ".join(cells)} |', flush=True)

    bgr = cv2.GaussianBlur(image_to_bgr(noise('bgr8')), (0, 0), 3)
    for suffix in ('.jpg', '.png'):
        message = CompressedImage(format=suffix[1:])
        message.data.frombytes(cv2.imencode(suffix, bgr)[1].tobytes())
        cells = [f'{median_ms(lambda m=message: compressed_to_bgr(m)):.2f}']
        cells += ['as OpenCV'] * (len(found) - 1)
        print(f'| {message.format} | {" | ".join(cells)} |')

    mask = np.where(bgr[..., 0] > 127, 255, 0).astype(np.uint8)
    overlay = draw_overlay(bgr, mask, (0, 255, 0), 0.5)
    print('\n| message | ms |\n|---|---|')
    for name, function in {
        'mask, mono8': lambda: to_image(mask, 'mono8', Header()),
        'overlay, bgr8': lambda: to_image(overlay, 'bgr8', Header()),
        'overlay, drawn and bgr8': lambda: to_image(
            draw_overlay(bgr, mask, (0, 255, 0), 0.5), 'bgr8', Header()
        ),
        'overlay, jpeg': lambda: to_jpeg(overlay, Header()),
    }.items():
        print(f'| {name} | {median_ms(function):.2f} |', flush=True)


if __name__ == '__main__':
    main()
