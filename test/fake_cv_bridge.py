"""
As much of ROS 2's cv_bridge as the node uses, with its ways.

It goes by `step` only in whole pixels, takes any buffer as data, and swaps no bytes (numpy 2 has
no `newbyteorder` any more).
"""

from __future__ import annotations

import sys
from typing import Any

import cv2
import numpy as np

CONVERSIONS = {
    'bgr8': (np.uint8, 3, None),
    'rgb8': (np.uint8, 3, cv2.COLOR_RGB2BGR),
    'bgra8': (np.uint8, 4, cv2.COLOR_BGRA2BGR),
    'rgba8': (np.uint8, 4, cv2.COLOR_RGBA2BGR),
    'mono8': (np.uint8, 1, cv2.COLOR_GRAY2BGR),
    'mono16': (np.uint16, 1, cv2.COLOR_GRAY2BGR),
    'bgr16': (np.uint16, 3, None),
    'rgb16': (np.uint16, 3, cv2.COLOR_RGB2BGR),
    'yuv422': (np.uint8, 2, cv2.COLOR_YUV2BGR_UYVY),
    'yuv422_yuy2': (np.uint8, 2, cv2.COLOR_YUV2BGR_YUY2),
    'bayer_rggb8': (np.uint8, 1, cv2.COLOR_BayerBG2BGR),
    'bayer_bggr8': (np.uint8, 1, cv2.COLOR_BayerRG2BGR),
    'bayer_gbrg8': (np.uint8, 1, cv2.COLOR_BayerGR2BGR),
    'bayer_grbg8': (np.uint8, 1, cv2.COLOR_BayerGB2BGR),
}


class CvBridgeError(TypeError):
    """What cv_bridge raises."""


class CvBridge:
    """Converts Image messages to BGR."""

    def imgmsg_to_cv2(self, img_msg: Any, desired_encoding: str = 'passthrough') -> np.ndarray:
        """Return the pixels of a message as bgr8."""
        if img_msg.encoding not in CONVERSIONS or desired_encoding != 'bgr8':
            raise CvBridgeError(f'no conversion from {img_msg.encoding} to {desired_encoding}')
        if img_msg.is_bigendian != (sys.byteorder == 'big'):
            raise AttributeError("'numpy.ndarray' object has no attribute 'newbyteorder'")
        scalar, channels, code = CONVERSIONS[img_msg.encoding]
        dtype = np.dtype(scalar)
        columns = int(img_msg.step / dtype.itemsize / channels)
        shape = (img_msg.height, columns) if channels == 1 else (img_msg.height, columns, channels)
        pixels = np.ndarray(shape, dtype, buffer=img_msg.data)
        pixels = np.ascontiguousarray(pixels[:, : img_msg.width])
        bgr = pixels if code is None else cv2.cvtColor(pixels, code)
        if bgr.dtype == np.uint16:
            return np.rint(bgr * (255 / 65535)).astype(np.uint8)
        return bgr.copy()  # it never gives a view
