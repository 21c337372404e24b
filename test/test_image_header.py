"""The size of an image, and whether its end is there, from its bytes alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from road_seg_ros.image_header import is_truncated, read_size


def encoded(suffix: str) -> bytes:
    """Return a noisy image of 64x48 pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    return cv2.imencode(suffix, pixels)[1].tobytes()


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_a_whole_image_has_its_size_and_its_end(suffix: str) -> None:
    data = encoded(suffix)
    assert read_size(data) == (64, 48)
    assert not is_truncated(data)
    assert not is_truncated(data + b'\0' * 9)  # as some cameras fill their buffers


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
@pytest.mark.parametrize('share', [0.5, 0.99])
def test_a_part_of_an_image_is_truncated(suffix: str, share: float) -> None:
    data = encoded(suffix)
    part = data[: int(share * len(data))]
    assert is_truncated(part)
    with pytest.raises(ValueError, match='is truncated'):
        read_size(part)


@pytest.mark.parametrize('data', [b'', b'\xff\xd8\xff', encoded('.webp'), encoded('.bmp')])
def test_what_is_not_known_is_not_called_truncated(data: bytes) -> None:
    assert not is_truncated(data)
    with pytest.raises(ValueError, match='it is neither JPEG nor PNG|has no header'):
        read_size(data)
