"""
Messages that a node can receive and must survive: each is legal in ROS, and none is an image.

    for kind, name, words, make in MALFORMED:
        message = make(picture)  # picture: uint8 (H, W, 3) BGR, 8x8 or larger

`words` are in the ImageError. MALFORMED_COMPRESSED is the same for CompressedImage.
"""

from __future__ import annotations

import array
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
from pngs import png
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from road_seg_ros.image_msgs import to_image

HUGE = 2**32 - 1
Fields = Callable[[int, int], 'dict[str, Any]']  # of an image's height and width


class Malformed(NamedTuple):
    """One message that is not an image."""

    kind: str
    name: str
    words: str
    make: Callable[[np.ndarray], Any]


def _raw(kind: str, name: str, words: str, fields: Fields) -> Malformed:
    """Return a bgr8 message with other fields; data: bytes, or how many of its bytes are left."""

    def make(picture: np.ndarray) -> Image:
        message = to_image(picture, 'bgr8', Header(frame_id='malformed'))
        for field, value in fields(*picture.shape[:2]).items():
            if field == 'data' and isinstance(value, int):
                value = message.data[:value]
            elif field == 'data':
                value = array.array('B', value)
            setattr(message, field, value)
        return message

    return Malformed(kind, name, words, make)


def _encoding(kind: str, *names: str) -> list[Malformed]:
    """Return messages that differ from a good one in the name of their encoding alone."""
    words = 'is not supported; use one of bgr8'
    return [
        _raw(
            kind, f'encoding {ascii(name[:20])}', words, lambda h, w, name=name: {'encoding': name}
        )
        for name in names
    ]


def _odd(encoding: str, height: int = 0, width: int = 0) -> Malformed:
    """Return a message whose sides are made odd where told to, though chroma is shared by two."""
    return _raw(
        'odd sides',
        f'{encoding}, {"height " * height}{"width" * width}',
        f'{encoding} needs even sides, the image is',
        lambda h, w: {
            'encoding': encoding,
            'height': h // 2 * 2 - height,
            'width': w // 2 * 2 - width,
        },
    )


def jpeg(picture: np.ndarray, width: int | None = None, height: int | None = None) -> bytes:
    """Return the picture as JPEG, with another size in its header where one is given."""
    data = bytearray(_encode('.jpg', picture))
    frame = data.index(b'\xff\xc0')
    if height is not None:
        struct.pack_into('>H', data, frame + 5, height)
    if width is not None:
        struct.pack_into('>H', data, frame + 7, width)
    return bytes(data)


def _encode(suffix: str, picture: np.ndarray) -> bytes:
    return cv2.imencode(suffix, picture)[1].tobytes()


def _damaged(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


def _compressed(
    kind: str,
    name: str,
    words: str,
    encode: Callable[[np.ndarray], bytes],
    format: str = 'jpeg',
) -> Malformed:
    def make(picture: np.ndarray) -> CompressedImage:
        message = CompressedImage(header=Header(frame_id='malformed'), format=format)
        message.data = array.array('B', encode(picture))
        return message

    return Malformed(kind, name, words, make)


NO_PIXELS, SHORT, NARROW = 'it has no pixels', 'data has', 'step is'

MALFORMED = [
    Malformed('empty message', 'all defaults', "encoding '' is not supported", lambda _: Image()),
    _raw('zero height', 'height 0', NO_PIXELS, lambda h, w: {'height': 0}),
    _raw('zero height', 'and no data', NO_PIXELS, lambda h, w: {'height': 0, 'data': 0}),
    _raw('zero width', 'width 0', NO_PIXELS, lambda h, w: {'width': 0}),
    _raw('zero width', 'and step 0', NO_PIXELS, lambda h, w: {'width': 0, 'step': 0, 'data': 0}),
    _raw('zero sides', 'height and width 0', NO_PIXELS, lambda h, w: {'height': 0, 'width': 0}),
    _raw('no data', 'bgr8', 'data has 0 bytes', lambda h, w: {'data': 0}),
    _raw('no data', 'mono8', 'data has 0 bytes', lambda h, w: {'data': 0, 'encoding': 'mono8'}),
    _raw('short data', 'by a byte', SHORT, lambda h, w: {'data': 3 * h * w - 1}),
    _raw('short data', 'by a row', SHORT, lambda h, w: {'data': 3 * (h - 1) * w}),
    _raw('short data', 'by half', SHORT, lambda h, w: {'data': 3 * h * w // 2}),
    _raw('short data', 'one byte is left', 'data has 1 bytes', lambda h, w: {'data': 1}),
    _raw('step 0', 'bgr8', 'step is 0', lambda h, w: {'step': 0}),
    _raw('step 0', 'mono8', 'step is 0', lambda h, w: {'step': 0, 'encoding': 'mono8'}),
    _raw('short step', 'by a byte', NARROW, lambda h, w: {'step': 3 * w - 1}),
    _raw('short step', 'by a pixel', NARROW, lambda h, w: {'step': 3 * w - 3}),
    _raw('step of another encoding', 'of mono8', NARROW, lambda h, w: {'step': w}),
    _raw('step of another encoding', 'of yuv422', NARROW, lambda h, w: {'step': 2 * w}),
    _raw('step of another encoding', 'of bgra8', SHORT, lambda h, w: {'step': 4 * w}),
    _raw('step of another encoding', 'of bgr16', SHORT, lambda h, w: {'step': 6 * w}),
    _raw('step without its padding', 'a byte', SHORT, lambda h, w: {'step': 3 * w + 1}),
    _raw(
        'step without its padding',
        'to 256',
        SHORT,
        lambda h, w: {'step': 3 * w // 256 * 256 + 256},
    ),
    _raw('large height', 'a row more', SHORT, lambda h, w: {'height': h + 1}),
    _raw('large height', '2**31', SHORT, lambda h, w: {'height': 2**31}),
    _raw('large height', '2**32 - 1', SHORT, lambda h, w: {'height': HUGE}),
    _raw('large width', 'a pixel more', NARROW, lambda h, w: {'width': w + 1}),
    _raw('large width', '2**31', NARROW, lambda h, w: {'width': 2**31}),
    _raw('large width', '2**32 - 1', NARROW, lambda h, w: {'width': HUGE}),
    _raw('large step', '2**31', SHORT, lambda h, w: {'step': 2**31}),
    _raw('large step', '2**32 - 1', SHORT, lambda h, w: {'step': HUGE}),
    _raw(
        'all large', 'bgr8', NARROW, lambda h, w: dict.fromkeys(('height', 'width', 'step'), HUGE)
    ),
    _raw(
        'all large',
        'mono8',
        SHORT,
        lambda h, w: {'encoding': 'mono8', **dict.fromkeys(('height', 'width', 'step'), HUGE)},
    ),
    _raw('32-bit overflow', '2**16 x 2**16', SHORT, lambda h, w: {'height': 2**16, 'step': 2**16}),
    _raw('32-bit overflow', '2**31 x 2', SHORT, lambda h, w: {'height': 2, 'step': 2**31}),
    _raw('32-bit overflow', '3 x width is 2', NARROW, lambda h, w: {'width': (2**32 + 2) // 3}),
    *_encoding('unknown encoding', 'xyz9', 'bgr', 'yuv420', 'h264', 'hsv8', 'None'),
    *_encoding('empty encoding', ''),
    *_encoding('upper case', 'BGR8', 'Rgb8', 'MONO8', '8uc3'),
    *_encoding('space in the encoding', ' bgr8', 'bgr8 ', 'bgr 8', 'bgr8\n', ' '),
    *_encoding('long encoding', 'bgr8' * 1000, 'x' * 100_000),
    *_encoding('encoding that is not ASCII', 'bgr８', 'бгр8', '\N{CAMERA}', '\ufffd\ufffd'),
    *_encoding('control characters', '\x1b[2Jbgr8', 'bgr8\x07', '%s%n', '{}'),
    *_encoding('float', '32FC1', '32FC3', '64FC1', '64FC4', '16FC1'),
    *_encoding('other integers', '8UC2', '8SC1', '16UC1', '16SC3', '32SC1'),
    *_encoding('Bayer of 16 bits', 'bayer_rggb16', 'bayer_bggr16', 'bayer_gbrg16', 'bayer_grbg16'),
    *_encoding('16 bits and alpha', 'bgra16', 'rgba16'),
    *_encoding('depth', '16UC1; compressedDepth', 'mono12'),
    _odd('yuv422', width=1),
    _odd('uyvy', width=1),
    _odd('yuv422_yuy2', width=1),
    _odd('yuyv', width=1),
    _odd('nv12', width=1),
    _odd('nv12', height=1),
    _odd('nv12', height=1, width=1),
    _raw(
        'Bayer without a whole pattern',
        '2x9',
        'bayer_rggb8 needs 3x3 pixels',
        lambda h, w: {'encoding': 'bayer_rggb8', 'height': 9, 'width': 2, 'step': 2, 'data': 18},
    ),
    _raw(
        'nv12 without chroma',
        'all of it',
        SHORT,
        lambda h, w: {
            'encoding': 'nv12',
            'height': h // 2 * 2,
            'width': w // 2 * 2,
            'step': w // 2 * 2,
            'data': (h // 2 * 2) * (w // 2 * 2),
        },
    ),
    _raw(
        'nv12 without chroma',
        'its last byte',
        SHORT,
        lambda h, w: {
            'encoding': 'nv12',
            'height': h // 2 * 2,
            'width': w // 2 * 2,
            'step': w // 2 * 2,
            'data': (h // 2 * 3) * (w // 2 * 2) - 1,
        },
    ),
    _raw(
        '16 bits with the data of 8',
        'mono16',
        NARROW,
        lambda h, w: {'encoding': 'mono16', 'step': w, 'data': h * w},
    ),
    _raw('16 bits with the data of 8', 'rgb16', NARROW, lambda h, w: {'encoding': 'rgb16'}),
    _raw(
        '16 bits with the data of 8',
        'bgr16, its own step',
        SHORT,
        lambda h, w: {'encoding': 'bgr16', 'step': 6 * w},
    ),
    _raw(
        '16 bits with the data of 8',
        'mono16, short by a byte',
        SHORT,
        lambda h, w: {'encoding': 'mono16', 'step': 2 * w, 'data': 2 * h * w - 1},
    ),
    _raw('four channels, data of three', 'bgra8', NARROW, lambda h, w: {'encoding': 'bgra8'}),
    _raw('four channels, data of three', '8UC4', NARROW, lambda h, w: {'encoding': '8UC4'}),
    _raw(
        'four channels, data of three',
        'rgba8, its own step',
        SHORT,
        lambda h, w: {'encoding': 'rgba8', 'step': 4 * w},
    ),
    _raw(
        'compressed data',
        'a JPEG as bgr8',
        SHORT,
        lambda h, w: {'data': jpeg(np.zeros((h, w, 3), np.uint8))[: 3 * h * w - 1]},
    ),
    _raw(
        'compressed data',
        'a PNG as png',
        "'png' is not supported",
        lambda h, w: {'data': png(w, h), 'encoding': 'png', 'step': 0},
    ),
    *_encoding('compressed data', 'jpeg', 'rgb8; jpeg compressed bgr8'),
]

NEITHER, NO_HEADER, DAMAGED = 'neither JPEG nor PNG', 'has no header', 'cannot be decoded'

MALFORMED_COMPRESSED = [
    _compressed('empty', 'no data', NEITHER, lambda p: b''),
    Malformed('empty', 'all defaults', "format '', 0 bytes", lambda p: CompressedImage()),
    _compressed('only a signature', 'of JPEG', NO_HEADER, lambda p: b'\xff\xd8\xff'),
    _compressed('only a signature', 'of PNG', NO_HEADER, lambda p: png(8, 8)[:8], 'png'),
    _compressed('only a signature', 'start and end', NO_HEADER, lambda p: b'\xff\xd8\xff\xd9'),
    _compressed('truncated', 'JPEG, half', 'truncated', lambda p: jpeg(p)[: len(jpeg(p)) // 2]),
    _compressed('truncated', 'JPEG, a byte', 'truncated', lambda p: jpeg(p)[:-1]),
    _compressed('truncated', 'JPEG, in its header', NO_HEADER, lambda p: jpeg(p)[:50]),
    _compressed('truncated', 'PNG, its end', 'truncated', lambda p: _encode('.png', p)[:-12]),
    _compressed('truncated', 'PNG, a byte', DAMAGED, lambda p: _encode('.png', p)[:-1]),
    _compressed('truncated', 'PNG, in its header', NO_HEADER, lambda p: _encode('.png', p)[:20]),
    _compressed('damaged', 'PNG, its header', DAMAGED, lambda p: _damaged(_encode('.png', p), 18)),
    _compressed('damaged', 'PNG, its pixels', DAMAGED, lambda p: _damaged(_encode('.png', p), 60)),
    _compressed('damaged', 'JPEG, its tables', DAMAGED, lambda p: _damaged(jpeg(p), 24)),
    _compressed('zero size', 'PNG', DAMAGED, lambda p: png(0, 0), 'png'),
    _compressed('zero size', 'JPEG, width', DAMAGED, lambda p: jpeg(p, width=0)),
    _compressed('zero size', 'JPEG, height', DAMAGED, lambda p: jpeg(p, height=0)),
    _compressed(
        'Bayer without a whole pattern',
        'PNG',
        'needs 3x3 pixels',
        lambda p: _encode('.png', p[:2, :9, 0]),
        'bayer_gbrg8; png compressed ',
    ),
    _compressed('missing pixels', 'PNG', DAMAGED, lambda p: png(8, 8), 'png'),
    _compressed('huge size', 'PNG', 'claims 30000x30000', lambda p: png(30000, 30000), 'png'),
    _compressed('huge size', 'PNG, 2**31', 'claims', lambda p: png(2**31 - 1, 2**31 - 1), 'png'),
    _compressed('huge size', 'PNG, one row', 'claims', lambda p: png(2**31 - 1, 1), 'png'),
    _compressed('huge size', 'JPEG', 'claims 65500x65500', lambda p: jpeg(p, 65500, 65500)),
    _compressed('other format', 'BMP', NEITHER, lambda p: _encode('.bmp', p), 'bmp'),
    _compressed('other format', 'PPM', NEITHER, lambda p: _encode('.ppm', p)),
    _compressed('other format', 'GIF', NEITHER, lambda p: b'GIF89a' + bytes(100), 'gif'),
    _compressed('other format', 'WebP', NEITHER, lambda p: b'RIFF\0\0\0\0WEBPVP8 ', 'webp'),
    _compressed('other format', 'H.264', NEITHER, lambda p: b'\0\0\0\1\x67' + bytes(99), 'h264'),
    _compressed(
        'other format',
        'depth before a PNG',
        NEITHER,
        lambda p: bytes(12) + _encode('.png', p),
        '16UC1; compressedDepth png',
    ),
    _compressed('no image', 'zeros', NEITHER, lambda p: bytes(1000)),
    _compressed('no image', 'text', NEITHER, lambda p: b'<html>camera offline</html>'),
    _compressed('no image', 'raw pixels', NEITHER, lambda p: bytes(p.nbytes), 'bgr8'),
    _compressed('long format', '100,000 characters', NEITHER, lambda p: b'', 'jpeg' * 25_000),
    _compressed('format that is not ASCII', 'emoji', NEITHER, lambda p: b'', '\N{CAMERA}'),
]
