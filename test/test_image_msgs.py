"""Every encoding arrives as BGR, whatever its padding and byte order; nothing else arrives."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from road_seg_ros.image_msgs import (
    LAYOUTS,
    ImageError,
    compressed_to_bgr,
    describe,
    image_to_bgr,
    to_image,
    to_jpeg,
)

HEIGHT, WIDTH = 6, 8
GRAY = ('mono8', '8UC1', 'mono16')
BAYER = {  # which colour (BGR index) the four pixels of a 2x2 cell see
    'bayer_rggb8': ((2, 1), (1, 0)),
    'bayer_bggr8': ((0, 1), (1, 2)),
    'bayer_gbrg8': ((1, 0), (2, 1)),
    'bayer_grbg8': ((1, 2), (0, 1)),
}


def _bgr_picture(encoding: str) -> np.ndarray:
    """Return a picture that survives the encoding: gray, flat where chroma is shared."""
    if encoding in GRAY:
        gray = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) * 5
        return np.repeat(gray[..., None], 3, axis=2)
    flat = encoding in BAYER or encoding.startswith(('yuv', 'uyvy', 'nv12', 'yuyv'))
    if flat:
        return np.full((HEIGHT, WIDTH, 3), (40, 90, 200), np.uint8)
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def _encode(bgr: np.ndarray, encoding: str) -> np.ndarray:
    """Write the picture in an encoding, pixel by pixel: rows x values."""
    b, g, r = (bgr[..., i].astype(int) for i in range(3))
    alpha = np.full_like(b, 77)
    wide = 257  # 255 becomes 65535
    if encoding in ('mono8', '8UC1'):
        return b.astype(np.uint8)
    if encoding == 'mono16':
        return (b * wide).astype(np.uint16)
    if encoding in BAYER:
        rows = np.empty((HEIGHT, WIDTH), np.uint8)
        for y in range(HEIGHT):
            for x in range(WIDTH):
                rows[y, x] = bgr[y, x, BAYER[encoding][y % 2][x % 2]]
        return rows
    if encoding.startswith(('yuv', 'uyvy', 'yuyv', 'nv12')):
        # ITU-R BT.601, limited range, as OpenCV decodes it.
        y = np.rint(16 + 0.257 * r + 0.504 * g + 0.098 * b).astype(np.uint8)
        u = np.rint(128 - 0.148 * r - 0.291 * g + 0.439 * b).astype(np.uint8)
        v = np.rint(128 + 0.439 * r - 0.368 * g - 0.071 * b).astype(np.uint8)
        if encoding == 'nv12':
            chroma = np.stack([u[::2, ::2], v[::2, ::2]], -1).reshape(HEIGHT // 2, WIDTH)
            return np.vstack([y, chroma])
        chroma = np.empty_like(y)
        chroma[:, ::2], chroma[:, 1::2] = u[:, ::2], v[:, ::2]
        pair = (y, chroma) if 'yuy' in encoding else (chroma, y)
        return np.stack(pair, -1).reshape(HEIGHT, -1)
    channels = {
        'bgr8': (b, g, r),
        '8UC3': (b, g, r),
        'rgb8': (r, g, b),
        'bgra8': (b, g, r, alpha),
        '8UC4': (b, g, r, alpha),
        'rgba8': (r, g, b, alpha),
        'bgr16': (b * wide, g * wide, r * wide),
        'rgb16': (r * wide, g * wide, b * wide),
    }[encoding]
    dtype = np.uint16 if '16' in encoding else np.uint8
    return np.stack(channels, -1).reshape(HEIGHT, -1).astype(dtype)


def _message(bgr: np.ndarray, encoding: str, padding: int = 0, big_endian: bool = False) -> Image:
    rows = _encode(bgr, encoding)
    if rows.dtype == np.uint16 and big_endian != (sys.byteorder == 'big'):
        rows = rows.byteswap()
    data = rows.view(np.uint8).reshape(len(rows), -1)
    data = np.pad(data, ((0, 0), (0, padding)), constant_values=123)
    message = Image(height=HEIGHT, width=WIDTH, encoding=encoding, is_bigendian=int(big_endian))
    message.step = data.shape[1]
    message.data = data.tobytes()
    return message


@pytest.mark.parametrize('big_endian', [False, True])
@pytest.mark.parametrize('padding', [0, 1, 10])
@pytest.mark.parametrize('encoding', LAYOUTS)
def test_encoding_becomes_bgr(encoding: str, padding: int, big_endian: bool) -> None:
    picture = _bgr_picture(encoding)
    bgr = image_to_bgr(_message(picture, encoding, padding, big_endian))
    assert bgr.dtype == np.uint8
    assert bgr.shape == picture.shape
    tolerance = 3 if encoding.startswith(('yuv', 'uyvy', 'yuyv', 'nv12')) else 0
    assert np.abs(bgr.astype(int) - picture).max() <= tolerance


def test_bgr8_is_not_copied() -> None:
    message = _message(_bgr_picture('bgr8'), 'bgr8', padding=3)
    view = np.frombuffer(message.data, np.uint8)
    assert np.shares_memory(image_to_bgr(message), view)


def _good() -> Image:
    return _message(_bgr_picture('bgr8'), 'bgr8')


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'height': 0}, 'is 8x0, it has no pixels'),
        ({'width': 0}, 'is 0x6, it has no pixels'),
        ({'step': 23}, 'step is 23, a row of 8 bgr8 pixels takes 24 bytes'),
        ({'step': 0}, 'step is 0'),
        ({'step': 25}, 'data has 144 bytes, 6 rows of 25 bytes are 150'),
        ({'height': 7}, 'data has 144 bytes, 7 rows'),
        ({'height': 2**32 - 1}, 'data has 144 bytes'),
        ({'width': 2**32 - 1, 'step': 2**32 - 1}, 'a row of 4294967295'),
        ({'data': b''}, 'data has 0 bytes'),
        ({'encoding': ''}, "encoding '' is not supported; use one of bgr8"),
        ({'encoding': 'BGR8'}, "encoding 'BGR8' is not supported"),
        ({'encoding': '32FC1'}, "encoding '32FC1' is not supported"),
        ({'encoding': 'nv12', 'height': 5}, 'nv12 needs even sides'),
        ({'encoding': 'yuv422', 'width': 7}, 'yuv422 needs even sides'),
    ],
)
def test_malformed_messages_say_what_is_wrong(fields: dict, words: str) -> None:
    message = _good()
    for name, value in fields.items():
        setattr(message, name, value)
    with pytest.raises(ImageError, match=words):
        image_to_bgr(message)


@settings(max_examples=300, deadline=None)
@given(
    height=st.one_of(st.integers(0, 12), st.integers(0, 2**32 - 1)),
    width=st.one_of(st.integers(0, 12), st.integers(0, 2**32 - 1)),
    step=st.one_of(st.integers(0, 80), st.integers(0, 2**32 - 1)),
    encoding=st.one_of(st.sampled_from(list(LAYOUTS)), st.text(max_size=8)),
    big_endian=st.integers(0, 255),
    data=st.binary(max_size=1500),
)
def test_random_fields_give_an_image_or_an_image_error(
    height: int, width: int, step: int, encoding: str, big_endian: int, data: bytes
) -> None:
    message = Image(height=height, width=width, step=step, is_bigendian=big_endian)
    try:
        message.encoding = encoding
    except (AssertionError, UnicodeEncodeError):
        return
    message.data = data
    try:
        bgr = image_to_bgr(message)
    except ImageError:
        return
    assert bgr.shape == (height, width, 3)
    assert bgr.dtype == np.uint8


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_compressed_images_are_decoded(suffix: str) -> None:
    picture = cv2.GaussianBlur(_bgr_picture('bgr8'), (0, 0), 3)
    data = cv2.imencode(suffix, picture)[1].tobytes()
    bgr = compressed_to_bgr(CompressedImage(format=suffix[1:], data=data))
    assert np.abs(bgr.astype(int) - picture).max() <= (0 if suffix == '.png' else 12)


@pytest.mark.parametrize('data', [b'', b'\xff\xd8\xff', b'no picture', bytes(100)])
def test_undecodable_data_is_an_image_error(data: bytes) -> None:
    message = CompressedImage(format='jpeg', data=data)
    with pytest.raises(ImageError, match=f"'jpeg', {len(data)} bytes cannot be decoded"):
        compressed_to_bgr(message)


def test_an_image_goes_out_as_it_came_in() -> None:
    header = Header(frame_id='camera')
    header.stamp.sec, header.stamp.nanosec = 3, 4
    picture = _bgr_picture('bgr8')
    message = to_image(picture[:, 1:], 'bgr8', header)  # not contiguous
    assert message.header == header
    assert (message.height, message.width, message.step) == (HEIGHT, WIDTH - 1, 3 * (WIDTH - 1))
    np.testing.assert_array_equal(image_to_bgr(message), picture[:, 1:])


def test_jpeg_goes_out_as_a_compressed_image() -> None:
    message = to_jpeg(_bgr_picture('nv12'), Header(frame_id='camera'))
    assert 'jpeg' in message.format
    assert message.header.frame_id == 'camera'
    assert np.abs(compressed_to_bgr(message).astype(int) - _bgr_picture('nv12')).max() <= 3


def test_a_description_names_size_encoding_and_bytes() -> None:
    assert describe(_good()) == "8x6 'bgr8' step 24, 144 bytes"
