"""Lines, bonnets and textures change what they should, and nothing else."""

from __future__ import annotations

import numpy as np

from road_seg_ros.metrics import NOT_ROAD, NOT_SCORED, ROAD
from training import other_roads

SIZE = (96, 320)


def _road() -> tuple[np.ndarray, np.ndarray]:
    """Return a gray image and a road that narrows from the lower edge to row 40."""
    image = np.full((*SIZE, 3), 90, np.uint8)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    road = (rows >= 40) & (abs(columns - 160) < 2.5 * (rows - 38))
    label = np.where(road, ROAD, NOT_ROAD).astype(np.uint8)
    label[60:70, 150:170] = NOT_SCORED
    return image, label


def test_lines_are_painted_on_road_alone_and_narrow_towards_its_end() -> None:
    painted, yellow, widths = 0, 0, []
    for seed in range(60):
        image, label = _road()
        before = label.copy()
        other_roads.paint_line(image, label, np.random.default_rng(seed))
        assert np.array_equal(label, before)
        changed = (image != 90).any(2)
        assert not changed[label != ROAD].any()
        assert (image[changed].max(1) > 90).all()
        painted += changed.any()
        yellow += changed.any() and image[changed][:, 2].mean() < 0.6 * image[changed][:, 0].mean()
        widths.append(changed[[50, 92]].sum(1))
    assert 40 < painted  # the rest runs beside the road
    assert 10 < yellow < 40
    near, far = np.array(widths).sum(0)[::-1]
    assert near > 2 * far


def test_without_a_road_there_are_no_lines() -> None:
    for label in (np.zeros(SIZE, np.uint8), np.full(SIZE, NOT_SCORED, np.uint8)):
        image = np.full((*SIZE, 3), 90, np.uint8)
        for seed in range(10):
            other_roads.paint_line(image, label, np.random.default_rng(seed))
        assert (image == 90).all()


def test_a_bonnet_covers_the_lower_edge_and_is_no_road() -> None:
    shares, seen = [], 0
    for seed in range(30):
        image, label = _road()
        before = label.copy()
        other_roads.put_bonnet(image, label, np.random.default_rng(seed))
        covered = label != before
        top = np.flatnonzero(covered.any(1)).min()
        assert (label[covered] == NOT_ROAD).all()
        assert (image[: top - 2] == 90).all()  # the scene above is as it was
        assert (label[-1, 140:180] == NOT_ROAD).all()
        seen += (image[-1, 140:180] != 90).mean() > 0.9
        shares.append((SIZE[0] - top) / SIZE[0])
    assert seen >= 28  # now and then a bonnet is as gray as the road
    assert min(shares) < 0.1 and 0.2 < max(shares) <= 0.3


def test_another_texture_keeps_tone_and_shapes() -> None:
    rng = np.random.default_rng(0)
    image = np.full((*SIZE, 3), 60, np.uint8)
    image[:, 160:] = 180
    image += rng.integers(0, 20, image.shape, np.uint8)
    before = image.copy()
    differences = []
    for seed in range(20):
        after = other_roads.other_texture(image, np.random.default_rng(seed))
        assert after.shape == image.shape and after.dtype == np.uint8
        # Clipping moves the mean a little; without it the channels' means stay.
        assert np.abs(after.mean((0, 1)) - image.mean((0, 1))).max() < 12
        step = np.abs(np.diff(after.astype(int).sum(2), axis=1)).mean(0)
        assert 155 <= step.argmax() <= 163
        differences.append(np.abs(after.astype(int) - image).mean())
    assert np.array_equal(image, before)
    assert np.mean(differences) > 5


def test_change_repeats_with_its_generator_and_mostly_leaves_images_alone() -> None:
    untouched = 0
    for seed in range(40):
        results = []
        for _ in range(2):
            image, label = _road()
            other_roads.change(image, label, np.random.default_rng(seed))
            results.append((image, label))
        assert np.array_equal(results[0][0], results[1][0])
        assert np.array_equal(results[0][1], results[1][1])
        untouched += (image == 90).all()
    # (1 - LINES) (1 - BONNET) (1 - TEXTURE) of them, and lines beside the road.
    assert 10 < untouched < 30
