"""An image keeps its shape and the network its number of pixels."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from road_seg_ros.geometry import network_size

PIXELS = 160 * 576


@pytest.mark.parametrize(
    ('image', 'network'),
    [
        ((375, 1242), (160, 576)),
        ((370, 1226), (160, 576)),
        ((376, 1241), (160, 576)),
        ((374, 1238), (160, 576)),
        ((360, 480), (256, 352)),
        ((480, 360), (352, 256)),
        ((160, 576), (160, 576)),
    ],
)
def test_known_cameras(image: tuple[int, int], network: tuple[int, int]) -> None:
    assert network_size(*image, PIXELS) == network


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_any_image_costs_about_the_same(height: int, width: int) -> None:
    h, w = network_size(height, width, PIXELS)
    assert h % 32 == 0 and w % 32 == 0
    assert 0.8 * PIXELS <= h * w <= 1.25 * PIXELS


@given(st.integers(100, 4000), st.integers(100, 4000))
def test_aspect_ratio_is_kept_within_a_quarter(height: int, width: int) -> None:
    if not 0.25 <= height / width <= 4:
        return
    h, w = network_size(height, width, PIXELS)
    assert 0.75 < (h / w) / (height / width) < 1.33


def test_an_empty_image_is_refused() -> None:
    with pytest.raises(ValueError, match='at least one pixel'):
        network_size(0, 10, PIXELS)
