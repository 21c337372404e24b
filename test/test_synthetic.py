"""Synthetic scenes are reproducible, come in any size, and their labels say where the road is."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest

from road_seg_ros import synthetic

SMALL = (94, 310)
SEEDS = range(12)
FRAMES = 8
DRIVES = (0, 4)  # without oncoming vehicles close by, which hide much of the road at once


@functools.cache
def scene_of(seed: int) -> synthetic.Scene:
    """Return a small scene, rendered once."""
    return synthetic.render(seed, *SMALL)


@functools.cache
def drive_of(seed: int) -> tuple[synthetic.Scene, ...]:
    """Return a short drive, rendered once."""
    return tuple(synthetic.drive(seed, FRAMES, *SMALL))


def same_bytes(a: synthetic.Scene, b: synthetic.Scene) -> bool:
    """Tell whether picture and label are the same."""
    return np.array_equal(a.image, b.image) and np.array_equal(a.road, b.road)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Return the intersection over union of two labels."""
    return np.count_nonzero((a > 0) & (b > 0)) / np.count_nonzero((a > 0) | (b > 0))


@pytest.mark.parametrize('seed', [0, 7])
def test_the_same_seed_gives_the_same_bytes(seed: int) -> None:
    assert same_bytes(scene_of(seed), synthetic.render(seed, *SMALL))


def test_different_seeds_give_different_scenes() -> None:
    pictures = {scene_of(seed).image.tobytes() for seed in SEEDS}
    labels = {scene_of(seed).road.tobytes() for seed in SEEDS}
    assert len(pictures) == len(labels) == len(SEEDS)


def test_a_scene_is_the_first_frame_of_its_drive() -> None:
    assert same_bytes(drive_of(0)[0], scene_of(0))


def test_a_drive_does_not_depend_on_how_many_frames_are_asked_for() -> None:
    for short, long in zip(synthetic.drive(0, 2, *SMALL), drive_of(0), strict=False):
        assert same_bytes(short, long)


@pytest.mark.parametrize('seed', SEEDS)
def test_a_label_is_black_or_white(seed: int) -> None:
    assert set(np.unique(scene_of(seed).road).tolist()) == {0, 255}


@pytest.mark.parametrize('seed', SEEDS)
def test_road_is_a_plausible_share_of_the_picture(seed: int) -> None:
    assert 0.05 < (scene_of(seed).road > 0).mean() < 0.6


@pytest.mark.parametrize('seed', SEEDS)
def test_there_is_no_road_in_the_sky(seed: int) -> None:
    height = SMALL[0]
    assert not scene_of(seed).road[: height // 3].any()


def test_road_fills_the_bottom_centre_of_most_pictures() -> None:
    height, width = SMALL
    near = (slice(-height // 8, None), slice(2 * width // 5, 3 * width // 5))
    shares = np.array([(scene_of(seed).road[near] > 0).mean() for seed in SEEDS])
    assert np.median(shares) > 0.95
    assert (shares > 0.5).mean() > 0.8


@pytest.mark.parametrize('seed', SEEDS)
def test_a_picture_is_neither_flat_nor_burnt_out(seed: int) -> None:
    image = scene_of(seed).image
    assert image.std() > 15
    assert 30 < image.mean() < 225


@pytest.mark.parametrize(
    'size', [(1, 1), (1, 9), (9, 1), (17, 31), (97, 333), (160, 576), (201, 64)]
)
def test_a_scene_comes_in_any_size(size: tuple[int, int]) -> None:
    scene = synthetic.render(1, *size)
    assert (scene.image.shape, scene.image.dtype) == ((*size, 3), np.uint8)
    assert (scene.road.shape, scene.road.dtype) == (size, np.uint8)


@pytest.mark.parametrize('seed', DRIVES)
def test_consecutive_frames_of_a_drive_belong_together(seed: int) -> None:
    frames = drive_of(seed)
    assert len(frames) == FRAMES
    for before, after in zip(frames[:-1], frames[1:], strict=True):
        assert overlap(before.road, after.road) > 0.7
        assert not np.array_equal(before.image, after.image)


def test_frames_of_a_drive_are_more_alike_than_different_worlds() -> None:
    within = [
        overlap(a.road, b.road)
        for seed in DRIVES
        for a, b in zip(drive_of(seed)[:-1], drive_of(seed)[1:], strict=True)
    ]
    between = [overlap(scene_of(a).road, scene_of(a + 1).road) for a in SEEDS if a + 1 in SEEDS]
    assert np.mean(within) > np.mean(between) + 0.1


@pytest.mark.parametrize('seed', DRIVES)
def test_a_drive_moves(seed: int) -> None:
    """Noise alone tells frames apart by less than what passes by."""
    first, last = (drive_of(seed)[i].image.astype(float) for i in (0, -1))
    slow = tuple(synthetic.drive(seed, 2, *SMALL, rate=1e6))
    still = np.abs(slow[1].image.astype(float) - slow[0].image).mean()
    assert np.abs(last - first).mean() > 2 * still
    assert not np.array_equal(drive_of(seed)[0].road, drive_of(seed)[-1].road)


@pytest.mark.parametrize('name', ['height', 'width'])
@pytest.mark.parametrize('value', [0, -3])
@pytest.mark.parametrize(
    'function', [synthetic.render, functools.partial(synthetic.drive, frames=2)]
)
def test_an_empty_picture_is_refused(
    function: Callable[..., object], name: str, value: int
) -> None:
    with pytest.raises(ValueError, match=name):
        function(seed=0, **{name: value})


@pytest.mark.parametrize(
    ('name', 'value'), [('frames', 0), ('frames', -1), ('rate', 0.0), ('rate', -1.0)]
)
def test_a_drive_that_goes_nowhere_is_refused_at_once(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        synthetic.drive(0, **{'frames': 2, name: value})
