"""Batches follow from seed and epoch alone, whoever draws them."""

from __future__ import annotations

import pytest

from road_seg_ros.checkpoint import InputSize
from training.sampling import Batches, batch_sizes

SIZES = ((160, 576), (256, 352), (192, 480))


def _epoch(batches: Batches, epoch: int) -> list:
    batches.set_epoch(epoch)
    return list(batches)


def test_an_epoch_draws_every_image() -> None:
    drawn = [draw.index for batch in _epoch(Batches(20, 6, SIZES, seed=1), 3) for draw in batch]
    assert len(drawn) == 24  # four batches, the last one filled up
    assert set(drawn) == set(range(20))
    assert all(drawn.count(index) <= 2 for index in range(20))


def test_the_same_epoch_is_the_same_and_others_differ() -> None:
    first, second = Batches(20, 6, SIZES, seed=1), Batches(20, 6, SIZES, seed=1)
    _epoch(first, 0)
    assert _epoch(first, 5) == _epoch(second, 5)
    assert _epoch(first, 5) != _epoch(first, 6)
    assert _epoch(first, 5) != _epoch(Batches(20, 6, SIZES, seed=2), 5)


def test_devices_share_the_batches_of_one_device() -> None:
    alone = _epoch(Batches(20, 6, SIZES, seed=1), 2)
    shared = zip(*(_epoch(Batches(20, 6, SIZES, 1, rank, 3), 2) for rank in range(3)), strict=True)
    for batch, parts in zip(alone, shared, strict=True):
        assert {len(part) for part in parts} == {2}
        assert sorted(sum(parts, []), key=lambda draw: draw.position) == batch


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match='batch_size 6 does not divide among 4 devices'):
        Batches(20, 6, SIZES, seed=1, devices=4)


def test_every_shape_is_drawn_and_the_own_one_in_half_of_the_batches() -> None:
    batches = _epoch(Batches(6000, 6, SIZES, seed=1), 0)
    sizes = [batch[0].size for batch in batches]
    assert all(draw.size == batch[0].size for batch in batches for draw in batch)
    assert set(sizes) == set(SIZES)
    assert all(draw.abroad == (draw.size != SIZES[0]) for batch in batches for draw in batch)
    assert 0.45 < sizes.count(SIZES[0]) / len(sizes) < 0.55


def test_sizes_are_those_of_other_cameras_with_as_many_pixels() -> None:
    assert batch_sizes(InputSize(160, 576), 1.0, False) == ((160, 576),)
    assert batch_sizes(InputSize(224, 768), 0.54, True) == (
        (160, 576),
        (192, 480),
        (224, 416),
        (256, 352),
    )
