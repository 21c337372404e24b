"""
Colours to BGR: with cv_bridge where the ROS distribution has one that works, else with OpenCV.

cv_bridge is native code for one numpy and one OpenCV. With others it raises, gives wrong pixels,
or takes the process down with it. So another process tries it first:

    python -m road_seg_ros.conversion    # status 0: it works
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from road_seg_ros.image_msgs import LAYOUTS, Conversion, opencv_to_bgr

# What cv_bridge knows as colours, less what is BGR already, and less bgr16 and rgb16: they take
# it 12 ms for a KITTI frame, and OpenCV less than 1. The rest goes to OpenCV.
ENCODINGS = (
    *('rgb8', 'bgra8', 'rgba8', 'mono8', 'mono16', 'yuv422', 'yuv422_yuy2'),
    *('bayer_rggb8', 'bayer_bggr8', 'bayer_gbrg8', 'bayer_grbg8'),
)
TIMEOUT_S = 20.0  # it takes one on an idle machine; robots are busy when they start
TOLERANCE = 2  # OpenCV versions round yuv and 16 bits differently


def choose_conversion(logger: Any) -> Conversion:
    """Return cv_bridge's conversion if it works, else OpenCV's; the logger is told why."""
    if importlib.util.find_spec('cv_bridge') is None:
        logger.debug('cv_bridge is not installed: OpenCV alone converts the images')
        return opencv_to_bgr
    if problem := find_problem():
        logger.warning(
            f'cv_bridge does not work: {problem}. OpenCV alone converts the images. To use '
            f'cv_bridge, install one that was built for numpy {np.__version__} and OpenCV '
            f'{cv2.__version__}'
        )
        return opencv_to_bgr
    logger.debug('cv_bridge converts the images')
    return cv_bridge_conversion()


def cv_bridge_conversion() -> Conversion:
    """Return a conversion by cv_bridge, as it is installed."""
    from cv_bridge import CvBridge

    bridge = CvBridge()

    def cv_bridge_to_bgr(pixels: np.ndarray, encoding: str) -> np.ndarray:
        if encoding not in ENCODINGS:
            return opencv_to_bgr(pixels, encoding)
        pixels = np.ascontiguousarray(pixels)  # without padding, of which it knows little
        height, width = pixels.shape[:2]
        message = SimpleNamespace(  # an Image would cost a copy
            height=height,
            width=width,
            encoding=encoding,
            is_bigendian=sys.byteorder == 'big',
            step=pixels.nbytes // height,
            data=pixels.reshape(-1).view(np.uint8),
        )
        return bridge.imgmsg_to_cv2(message, 'bgr8')

    return cv_bridge_to_bgr


def find_problem() -> str:
    """Try cv_bridge in a process of its own, and return what is wrong with it, or ''."""
    # PYTHONPATH: the same packages as here, however this process came by them.
    paths = {'PYTHONPATH': os.pathsep.join(sys.path), 'PYTHONSAFEPATH': '1'}
    try:
        result = subprocess.run(
            [sys.executable, '-m', 'road_seg_ros.conversion'],
            env=os.environ | paths,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors='replace',
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return f'it does not answer within {TIMEOUT_S:.0f} s'
    if result.returncode < 0:
        return f'its process ends with {signal.strsignal(-result.returncode)!r}'
    if result.returncode:
        last_line = result.stderr.strip().split('\n')[-1]  # of a traceback: the exception
        return last_line or f'its process ends with status {result.returncode}'
    return ''


def main() -> None:
    """Convert an image of each encoding with cv_bridge, and compare it with OpenCV's."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash is an answer, not worth a core dump
    convert = cv_bridge_conversion()
    for encoding in ENCODINGS:
        pixels = _sample(encoding)
        bgr, expected = convert(pixels, encoding), opencv_to_bgr(pixels, encoding)
        if bgr.shape != expected.shape or bgr.dtype != expected.dtype:
            sys.exit(f'it makes {bgr.dtype} {bgr.shape} of {encoding}')
        if np.abs(bgr.astype(int) - expected).max() > TOLERANCE:
            sys.exit(f'it gives wrong pixels for {encoding}')


def _sample(encoding: str, height: int = 16, width: int = 24) -> np.ndarray:
    """Return noise in an encoding; for a Bayer pattern one colour, which has no edges."""
    if encoding.startswith('bayer_'):  # there are many ways to guess what lies across an edge
        cell = np.array([{'r': 200, 'g': 90, 'b': 40}[c] for c in encoding[6:10]], np.uint8)
        return np.tile(cell.reshape(2, 2), (height // 2, width // 2))
    layout = LAYOUTS[encoding]
    shape = (height, width) if layout.channels == 1 else (height, width, layout.channels)
    maximum = np.iinfo(layout.dtype).max
    return np.random.default_rng(0).integers(0, maximum, shape, layout.dtype, endpoint=True)


if __name__ == '__main__':
    main()
