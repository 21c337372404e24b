"""Every encoding arrives as BGR, whatever its padding and byte order; nothing else arrives."""

from __future__ import annotations

import array
import functools
import importlib.util
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import cv2
import fake_cv_bridge
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from malformed import MALFORMED, MALFORMED_COMPRESSED, Malformed, jpeg, png
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from road_seg_ros import image_msgs
from road_seg_ros.conversion import cv_bridge_conversion, find_problem
from road_seg_ros.image_msgs import (
    LAYOUTS,
    Conversion,
    ImageError,
    compressed_to_bgr,
    describe,
    image_to_bgr,
    opencv_to_bgr,
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


@functools.cache
def _why_no_cv_bridge() -> str:
    if importlib.util.find_spec('cv_bridge') is None:
        return 'cv_bridge is not installed'
    return find_problem()


@pytest.fixture(params=['OpenCV', 'cv_bridge', 'fake cv_bridge'])
def convert(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Conversion:
    """Return each way to convert colours that this machine has."""
    if request.param == 'OpenCV':
        return opencv_to_bgr
    if request.param == 'fake cv_bridge':
        monkeypatch.setitem(sys.modules, 'cv_bridge', fake_cv_bridge)
    elif reason := _why_no_cv_bridge():
        pytest.skip(reason)
    return cv_bridge_conversion()


@pytest.mark.parametrize('big_endian', [False, True])
@pytest.mark.parametrize('padding', [0, 1, 10])
@pytest.mark.parametrize('encoding', LAYOUTS)
def test_encoding_becomes_bgr(
    convert: Conversion, encoding: str, padding: int, big_endian: bool
) -> None:
    picture = _bgr_picture(encoding)
    bgr = image_to_bgr(_message(picture, encoding, padding, big_endian), convert)
    assert bgr.dtype == np.uint8
    assert bgr.shape == picture.shape
    tolerance = 3 if encoding.startswith(('yuv', 'uyvy', 'yuyv', 'nv12')) else 0
    assert np.abs(bgr.astype(int) - picture).max() <= tolerance


@pytest.mark.parametrize('encoding', sorted(set(LAYOUTS) - set(BAYER) - {'nv12'}))
def test_a_single_padded_row_becomes_bgr(convert: Conversion, encoding: str) -> None:
    picture = _bgr_picture(encoding)
    message = _message(picture, encoding, padding=2**16 + 1)
    message.height = 1
    bgr = image_to_bgr(message, convert)
    assert np.abs(bgr.astype(int) - picture[:1]).max() <= 3


@pytest.mark.parametrize('big_endian', [False, True])
@pytest.mark.parametrize('padding', [0, 1, 2, 7])
@pytest.mark.parametrize('encoding', ['mono16', 'bgr16', 'rgb16'])
def test_every_value_of_16_bits_is_scaled_and_rounded(
    convert: Conversion, encoding: str, padding: int, big_endian: bool
) -> None:
    rng = np.random.default_rng(0)
    values = rng.permutation(2**16).astype(np.uint16).reshape(128, 512)
    if encoding != 'mono16':
        values = np.stack([values, values[::-1], values[:, ::-1]], axis=-1)
    rows = values.astype('>u2' if big_endian else '<u2').reshape(128, -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=123)
    message = Image(height=128, width=512, step=rows.shape[1], encoding=encoding)
    message.is_bigendian, message.data = int(big_endian), rows.tobytes()
    expected = {
        'mono16': lambda: np.repeat(values[..., None], 3, axis=2),
        'bgr16': lambda: values,
        'rgb16': lambda: values[..., ::-1],
    }[encoding]()
    np.testing.assert_array_equal(image_to_bgr(message, convert), np.rint(expected / 257))


@pytest.mark.parametrize('encoding', sorted(set(LAYOUTS) - {'nv12', '8UC1', '8UC4'}))
def test_rosbags_image_sees_the_same(encoding: str) -> None:
    reference = pytest.importorskip('rosbags.image', reason='rosbags-image is not installed')
    layout = LAYOUTS[encoding]
    shape = (HEIGHT, WIDTH * layout.channels * np.dtype(layout.dtype).itemsize)
    message = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=shape[1])
    message.data = np.random.default_rng(0).integers(0, 256, shape, np.uint8).tobytes()
    expected = reference.image_to_cvimage(message, 'bgr8')
    tolerance = 1 if layout.dtype == np.uint16 else 0  # it rounds down
    assert np.abs(image_to_bgr(message).astype(int) - expected).max() <= tolerance


def test_bgr8_is_not_copied() -> None:
    message = _message(_bgr_picture('bgr8'), 'bgr8', padding=3)
    view = np.frombuffer(message.data, np.uint8)
    assert np.shares_memory(image_to_bgr(message), view)


def _ids(table: list[Malformed]) -> list[str]:
    return [f'{malformed.kind}: {malformed.name}' for malformed in table]


@pytest.mark.parametrize('malformed', MALFORMED, ids=_ids(MALFORMED))
def test_a_malformed_image_says_what_is_wrong(malformed: Malformed) -> None:
    message = malformed.make(np.zeros((10, 16, 3), np.uint8))
    with pytest.raises(ImageError) as caught:
        image_to_bgr(message)
    assert malformed.words in str(caught.value)
    assert len(f'{caught.value} {describe(message)}') < 500  # it goes to a log


@pytest.mark.parametrize('malformed', MALFORMED_COMPRESSED, ids=_ids(MALFORMED_COMPRESSED))
def test_a_malformed_compressed_image_says_what_is_wrong(malformed: Malformed) -> None:
    message = malformed.make(np.zeros((10, 16, 3), np.uint8))
    with pytest.raises(ImageError) as caught:
        compressed_to_bgr(message)
    assert malformed.words in str(caught.value)
    assert len(f'{caught.value} {describe(message)}') < 500


def _convert_and_measure(convert: Callable[[Any], np.ndarray], message: Any) -> tuple[Any, int]:
    """Return the pixels, or None for an ImageError, and how many bytes were taken on the way."""
    tracemalloc.start()
    try:
        return convert(message), tracemalloc.get_traced_memory()[1]
    except ImageError:
        return None, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


SMALL_CHANGE = 100_000  # bytes, for Python's own objects


@pytest.mark.parametrize('encoding', LAYOUTS)
def test_memory_stays_in_proportion(encoding: str) -> None:
    layout = LAYOUTS[encoding]
    row_bytes = 1000 * layout.channels * np.dtype(layout.dtype).itemsize
    message = Image(height=1000, width=1000, encoding=encoding, step=row_bytes)
    message.data = array.array('B', bytes(row_bytes * 500 * layout.rows_per_2))
    bgr, peak = _convert_and_measure(image_to_bgr, message)
    made = 0 if encoding in ('bgr8', '8UC3') else bgr.nbytes
    assert made <= peak <= 4 * len(message.data) + SMALL_CHANGE


SIDES = st.one_of(st.integers(0, 12), st.integers(0, 2**32 - 1))


@settings(max_examples=300, deadline=None)
@given(
    height=SIDES,
    width=SIDES,
    step=st.one_of(st.integers(0, 80), st.integers(0, 2**32 - 1)),
    encoding=st.one_of(
        st.sampled_from(list(LAYOUTS)),
        st.text(st.characters(exclude_categories=['Cs']), max_size=8),
        st.just('bgr8' * 10_000),
    ),
    big_endian=st.integers(0, 255),
    data=st.binary(max_size=1500),
)
def test_random_fields_give_an_image_or_an_image_error(
    height: int, width: int, step: int, encoding: str, big_endian: int, data: bytes
) -> None:
    message = Image(height=height, width=width, step=step, encoding=encoding)
    message.is_bigendian, message.data = big_endian, array.array('B', data)
    bgr, peak = _convert_and_measure(image_to_bgr, message)
    assert peak <= 4 * len(data) + SMALL_CHANGE
    if bgr is not None:
        assert (bgr.shape, bgr.dtype) == ((height, width, 3), np.uint8)


def _pictures() -> list[bytes]:
    picture = cv2.GaussianBlur(
        np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8), (0, 0), 2
    )
    return [
        cv2.imencode(suffix, pixels, options)[1].tobytes()
        for suffix, pixels, options in (
            ('.jpg', picture, ()),
            ('.jpg', picture, (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)),
            ('.jpg', picture[..., 0], ()),
            ('.png', picture, ()),
            ('.png', picture[..., 0].astype(np.uint16) * 257, ()),
        )
    ]


@st.composite
def _damaged_files(draw: st.DrawFn) -> bytes:
    """A JPEG or PNG with some bytes changed, some lost, and its end cut off, each perhaps."""
    data = bytearray(draw(st.sampled_from(_pictures())))
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        start = draw(st.integers(0, len(data)))
        del data[start : start + draw(st.integers(0, 20))]
    if draw(st.booleans()):
        del data[draw(st.integers(0, len(data))) :]
    return bytes(data)


@settings(max_examples=300, deadline=None)
@given(
    data=st.one_of(
        _damaged_files(),
        st.binary(max_size=300),
        st.builds(bytes.__add__, st.sampled_from([p[:40] for p in _pictures()]), st.binary()),
    ),
    format=st.text(st.characters(exclude_categories=['Cs']), max_size=8),
)
def test_random_files_give_an_image_or_an_image_error(data: bytes, format: str) -> None:
    message = CompressedImage(format=format, data=array.array('B', data))
    limit = 2**20  # pixels: a changed size would take long to decode
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_msgs, 'MAX_PIXELS', limit)
        bgr, peak = _convert_and_measure(compressed_to_bgr, message)
    assert peak <= 4 * len(data) + 3 * limit + SMALL_CHANGE
    if bgr is not None:
        assert bgr.dtype == np.uint8
        assert bgr.ndim == 3 and bgr.shape[2] == 3 and 0 < bgr.shape[0] * bgr.shape[1] <= limit


@pytest.mark.parametrize(
    'data',
    [
        png(30_000, 30_000, bytes(30_000 * 3751)),  # complete: 112 MB of zeros in 110 kB
        png(2**31 - 1, 2**31 - 1),
        png(8193, 8192),
        jpeg(np.zeros((16, 16, 3), np.uint8), 65_500, 65_500),
    ],
    ids=['PNG', 'PNG of 2**62 pixels', 'PNG just over', 'JPEG'],
)
def test_a_decompression_bomb_is_not_decoded(data: bytes) -> None:
    message = CompressedImage(format='png', data=array.array('B', data))
    bgr, peak = _convert_and_measure(compressed_to_bgr, message)
    assert bgr is None
    assert peak <= 2 * len(data) + SMALL_CHANGE


def test_the_largest_compressed_image_is_still_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    message = CompressedImage(format='jpeg', data=jpeg(np.zeros((20, 30, 3), np.uint8)))
    monkeypatch.setattr(image_msgs, 'MAX_PIXELS', 600)
    assert compressed_to_bgr(message).shape == (20, 30, 3)
    monkeypatch.setattr(image_msgs, 'MAX_PIXELS', 599)
    with pytest.raises(ImageError, match='claims 30x20 pixels, 599 are the limit'):
        compressed_to_bgr(message)


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_compressed_images_are_decoded(suffix: str) -> None:
    picture = cv2.GaussianBlur(_bgr_picture('bgr8'), (0, 0), 3)
    data = cv2.imencode(suffix, picture)[1].tobytes()
    bgr = compressed_to_bgr(CompressedImage(format=suffix[1:], data=data))
    assert np.abs(bgr.astype(int) - picture).max() <= (0 if suffix == '.png' else 12)


@pytest.mark.parametrize('encoding', BAYER)
def test_a_bayer_pattern_that_image_transport_compressed_gets_its_colours(encoding: str) -> None:
    picture = _bgr_picture(encoding)
    data = cv2.imencode('.png', _encode(picture, encoding))[1].tobytes()
    bgr = compressed_to_bgr(CompressedImage(format=f'{encoding}; png compressed ', data=data))
    np.testing.assert_array_equal(bgr, picture)
    data = cv2.imencode('.png', picture)[1].tobytes()
    for text in (f'{encoding}; jpeg compressed bgr8', f'{encoding}; png compressed '):
        bgr = compressed_to_bgr(CompressedImage(format=text, data=data))  # has colours already
        np.testing.assert_array_equal(bgr, picture)


def test_an_image_goes_out_as_it_came_in() -> None:
    header = Header(frame_id='camera')
    header.stamp.sec, header.stamp.nanosec = 3, 4
    picture = _bgr_picture('bgr8')
    message = to_image(picture[:, 1:], 'bgr8', header)  # not contiguous
    assert message.header == header
    assert (message.height, message.width, message.step) == (HEIGHT, WIDTH - 1, 3 * (WIDTH - 1))
    np.testing.assert_array_equal(image_to_bgr(message), picture[:, 1:])


def test_a_single_row_goes_out_as_it_came_in() -> None:
    picture = _bgr_picture('bgr8')[:1, 1:]
    message = to_image(picture, 'bgr8', Header())
    assert message.step == 3 * (WIDTH - 1)
    np.testing.assert_array_equal(image_to_bgr(message), picture)


def test_jpeg_goes_out_as_a_compressed_image() -> None:
    message = to_jpeg(_bgr_picture('nv12'), Header(frame_id='camera'))
    assert 'jpeg' in message.format
    assert message.header.frame_id == 'camera'
    assert np.abs(compressed_to_bgr(message).astype(int) - _bgr_picture('nv12')).max() <= 3


def test_a_description_names_size_encoding_and_bytes() -> None:
    message = _message(_bgr_picture('bgr8'), 'bgr8')
    assert describe(message) == "8x6 'bgr8' step 24, 144 bytes"
    message.encoding = '\N{CAMERA}' * 100
    assert len(describe(message)) < 700
