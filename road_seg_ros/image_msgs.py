"""
Between sensor_msgs and numpy.

Everything about a message is checked before a byte of it is used or memory is allocated for it;
what is wrong is an ImageError. OpenCV does the colour conversion, or what `conversion` chooses.
"""

from __future__ import annotations

import array
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from road_seg_ros.image_header import read_size

JPEG_QUALITY = 80
JPEG_LONGEST_SIDE = 65500  # of libjpeg
# A PNG of some kilobytes can ask for gigabytes. No camera of a robot has more than this, and its
# pixels take 192 MiB.
MAX_PIXELS = 64 * 2**20

# From pixels as the encoding has them, uint8 or uint16, to uint8 (H, W, 3) BGR.
Conversion = Callable[[np.ndarray, str], np.ndarray]


class ImageError(ValueError):
    """A message that is not a complete image of a known encoding; says what is wrong with it."""


def stamp_ns(message: Any) -> int:
    """Return the stamp of a message with a header, in nanoseconds."""
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


@dataclass(frozen=True)
class Layout:
    """How the pixels of one encoding lie in memory and how OpenCV turns them to BGR."""

    channels: int  # values per pixel in a row of the message
    to_bgr: int | None  # cv2.COLOR_..., None where the bytes are BGR already
    dtype: type = np.uint8
    rows_per_2: int = 2  # rows in the message for two rows of the image; 3 for planar 4:2:0
    even_width: bool = False  # two pixels share their colour


# OpenCV names a Bayer pattern by its second row's pixels, ROS by the first's: RGGB is BayerBG.
LAYOUTS = {
    'bgr8': Layout(3, None),
    '8UC3': Layout(3, None),
    'rgb8': Layout(3, cv2.COLOR_RGB2BGR),
    'bgra8': Layout(4, cv2.COLOR_BGRA2BGR),
    '8UC4': Layout(4, cv2.COLOR_BGRA2BGR),
    'rgba8': Layout(4, cv2.COLOR_RGBA2BGR),
    'mono8': Layout(1, cv2.COLOR_GRAY2BGR),
    '8UC1': Layout(1, cv2.COLOR_GRAY2BGR),
    'mono16': Layout(1, cv2.COLOR_GRAY2BGR, np.uint16),
    'bgr16': Layout(3, None, np.uint16),
    'rgb16': Layout(3, cv2.COLOR_RGB2BGR, np.uint16),
    'yuv422': Layout(2, cv2.COLOR_YUV2BGR_UYVY, even_width=True),
    'uyvy': Layout(2, cv2.COLOR_YUV2BGR_UYVY, even_width=True),
    'yuv422_yuy2': Layout(2, cv2.COLOR_YUV2BGR_YUY2, even_width=True),
    'yuyv': Layout(2, cv2.COLOR_YUV2BGR_YUY2, even_width=True),
    'nv12': Layout(1, cv2.COLOR_YUV2BGR_NV12, rows_per_2=3, even_width=True),
    'bayer_rggb8': Layout(1, cv2.COLOR_BayerBG2BGR),
    'bayer_bggr8': Layout(1, cv2.COLOR_BayerRG2BGR),
    'bayer_gbrg8': Layout(1, cv2.COLOR_BayerGR2BGR),
    'bayer_grbg8': Layout(1, cv2.COLOR_BayerGB2BGR),
}
# What image_transport calls a Bayer pattern that it compressed; the decoded encoding is left out.
BAYER_FORMAT = re.compile('(bayer_(?:rggb|bggr|gbrg|grbg)8); *(?:jpeg|png) compressed *')


def opencv_to_bgr(pixels: np.ndarray, encoding: str) -> np.ndarray:
    """Return pixels of a known encoding as uint8 (H, W, 3) BGR; bgr8 itself, not a copy."""
    if pixels.dtype == np.uint16:
        pixels = cv2.convertScaleAbs(pixels, alpha=1 / 257)  # 65535 becomes 255
    to_bgr = LAYOUTS[encoding].to_bgr
    return pixels if to_bgr is None else cv2.cvtColor(pixels, to_bgr)


def image_to_bgr(message: Image, convert: Conversion = opencv_to_bgr) -> np.ndarray:
    """
    Return the pixels of an Image message as uint8 (H, W, 3) BGR.

    Padded rows (`step`) and both byte orders are understood. For bgr8 the result is a view of the
    message's own memory: do not write to it. ImageError if the message is malformed.
    """
    return convert(_pixels(message), message.encoding)


def _pixels(message: Image) -> np.ndarray:
    """Return a view of the message's pixels without their padding; 16 bits in our byte order."""
    height, width, step = message.height, message.width, message.step
    layout = LAYOUTS.get(message.encoding)
    if layout is None:
        raise ImageError(
            f'encoding {_quoted(message.encoding)} is not supported; use one of '
            f'{", ".join(LAYOUTS)}'
        )
    if height < 1 or width < 1:
        raise ImageError(f'the image is {width}x{height}, it has no pixels')
    if (layout.even_width and width % 2) or (layout.rows_per_2 == 3 and height % 2):
        raise ImageError(f'{message.encoding} needs even sides, the image is {width}x{height}')
    _require_colours(message.encoding, height, width)
    itemsize = np.dtype(layout.dtype).itemsize
    row_bytes = width * layout.channels * itemsize
    if step < row_bytes:
        raise ImageError(
            f'step is {step}, a row of {width} {message.encoding} pixels takes {row_bytes} bytes'
        )
    rows = height * layout.rows_per_2 // 2
    if len(message.data) < rows * step:
        raise ImageError(
            f'data has {len(message.data)} bytes, {rows} rows of {step} bytes are {rows * step}'
        )
    shape = (rows, width) if layout.channels == 1 else (rows, width, layout.channels)
    strides = (step, layout.channels * itemsize, itemsize)[: len(shape)]
    swapped = itemsize > 1 and bool(message.is_bigendian) != (sys.byteorder == 'big')
    dtype = np.dtype(layout.dtype).newbyteorder('S' if swapped else '=')
    pixels = np.ndarray(shape, dtype, memoryview(message.data).cast('B'), strides=strides)
    # A step may be odd, which numpy understands and OpenCV does not.
    return pixels if itemsize == 1 else pixels.astype(layout.dtype)


def _require_colours(encoding: str, height: int, width: int) -> None:
    if encoding.startswith('bayer') and min(height, width) < 3:  # OpenCV would make it black
        raise ImageError(f'{encoding} needs 3x3 pixels at least, the image is {width}x{height}')


def compressed_to_bgr(message: CompressedImage) -> np.ndarray:
    """
    Decode a CompressedImage (jpeg or png) to uint8 (H, W, 3) BGR.

    The pixels stay as the camera sent them: an orientation tag is not applied, because mask and
    image must match. The raw pattern of a Bayer camera, which image_transport compresses as it is,
    gets its colours. ImageError if it cannot be decoded.
    """
    data = bytes(memoryview(message.data))
    try:
        width, height = read_size(data)
    except ValueError as error:
        raise ImageError(f'{_compressed(message)} cannot be decoded: {error}') from error
    if width * height > MAX_PIXELS:
        raise ImageError(
            f'{_compressed(message)} claims {width}x{height} pixels, {MAX_PIXELS} are the limit'
        )
    bayer = BAYER_FORMAT.fullmatch(message.format)
    kind = cv2.IMREAD_ANYCOLOR if bayer else cv2.IMREAD_COLOR
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), kind | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ImageError(f'{_compressed(message)} cannot be decoded: {error.err}') from error
    if image is None:
        raise ImageError(f'{_compressed(message)} cannot be decoded: it is damaged')
    if image.ndim == 3:
        return image
    _require_colours(bayer[1], height, width)
    return opencv_to_bgr(image, bayer[1])


def to_image(pixels: np.ndarray, encoding: str, header: Header) -> Image:
    """
    Return an Image message of uint8 pixels.

    pixels: (H, W) for mono8, (H, W, 3) for bgr8. The header is taken as it is.
    """
    pixels = np.ascontiguousarray(pixels)
    message = Image(header=header, encoding=encoding)
    message.height, message.width = pixels.shape[:2]
    message.step = pixels.nbytes // len(pixels)  # numpy's stride of a single row may be anything
    # Straight into the array: any other assignment makes rclpy look at every byte, 85 ms.
    message.data = _byte_array(pixels)
    return message


def to_jpeg(bgr: np.ndarray, header: Header) -> CompressedImage:
    """
    Return a CompressedImage (jpeg) of uint8 (H, W, 3) BGR pixels.

    ImageError if one side is longer than a JPEG may have.
    """
    height, width = bgr.shape[:2]
    if max(height, width) > JPEG_LONGEST_SIDE:
        raise ImageError(f'{width}x{height} pixels do not fit into a JPEG')
    _, encoded = cv2.imencode('.jpg', bgr, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    message = CompressedImage(header=header, format='bgr8; jpeg compressed bgr8')
    message.data = _byte_array(encoded)
    return message


def describe(message: Image | CompressedImage) -> str:
    """Return what a message says of itself, for logs: `1242x375 bgr8 step 3726, 1397250 bytes`."""
    if isinstance(message, CompressedImage):
        return _compressed(message)
    return (
        f'{message.width}x{message.height} {_quoted(message.encoding)} step {message.step}, '
        f'{len(message.data)} bytes'
    )


def _compressed(message: CompressedImage) -> str:
    return f'compressed image of format {_quoted(message.format)}, {len(message.data)} bytes'


def _quoted(name: str) -> str:
    """Return a name that a message gave, fit for a log: it may be long, and in any script."""
    return ascii(name if len(name) <= 60 else f'{name[:57]}...')


def _byte_array(pixels: np.ndarray) -> array.array:
    data = array.array('B')
    data.frombytes(memoryview(pixels).cast('B'))
    return data
