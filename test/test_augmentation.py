"""Views and looks change image and label together, and invent nothing."""

from __future__ import annotations

import numpy as np
import pytest

from road_seg_ros.metrics import NOT_ROAD, NOT_SCORED, ROAD
from training import augmentation


def _two_boxes() -> tuple[np.ndarray, np.ndarray]:
    image = np.zeros((375, 1242, 3), np.uint8)
    label = np.zeros((375, 1242), np.uint8)
    for box in (np.s_[80:330, 200:500], np.s_[150:300, 700:1100]):
        image[box] = 255
        label[box] = ROAD
    return image, label


@pytest.mark.parametrize('size', [(160, 576), (256, 352)])
def test_image_and_label_move_together(size: tuple[int, int]) -> None:
    image, label = _two_boxes()
    scored_shares = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        pixels, truth = augmentation.view(image, label, size, 160 * 576, rng)
        assert pixels.shape == (*size, 3) and truth.shape == size
        assert set(np.unique(truth)) <= {0, ROAD, NOT_SCORED}
        scored = truth != NOT_SCORED
        scored_shares.append(scored.mean())
        bright = pixels.mean(2) > 127
        assert ((truth == ROAD) == bright)[scored].mean() > 0.985
    assert np.mean(scored_shares) > 0.6
    assert min(scored_shares) > 0.2


@pytest.mark.parametrize('scale', [0.25, 0.5, 1.5])
def test_a_warp_puts_edges_of_image_and_label_where_they_belong(scale: float) -> None:
    step = (np.arange(1242) >= 621).astype(np.uint8)[None].repeat(375, 0)
    image = (255 * step)[..., None].repeat(3, 2)
    size = (round(375 * scale), round(1242 * scale))
    seen, truth = augmentation.warp(image, step, np.diag((scale, scale, 1.0)), size)
    # The bright part of a row, in pixels: where the blurred edge is, to a fraction of one.
    bright = seen[size[0] // 2, :, 0].sum() / 255
    assert bright == pytest.approx(size[1] - 621 * scale, abs=0.25)
    assert truth[size[0] // 2].sum() == pytest.approx(size[1] - 621 * scale, abs=0.51)


def test_only_views_with_the_lower_edge_in_its_place_learn_where_labels_stop() -> None:
    image = np.zeros((375, 1242, 3), np.uint8)
    label = np.full((375, 1242), ROAD, np.uint8)
    label[-4:] = NOT_ROAD  # as KITTI's annotators left it
    own = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        _, truth = augmentation.view(image, label, (160, 576), 224 * 768, rng)
        if NOT_ROAD in truth:
            own += 1
            assert (truth[-1] == NOT_ROAD).all()
            assert (truth[:-5] == ROAD).all()
    assert 15 < own < 45
    for seed in range(20):
        rng = np.random.default_rng(seed)
        _, truth = augmentation.view(image, label, (256, 352), 224 * 768, rng)
        assert NOT_ROAD not in truth


def test_half_of_the_views_are_mirrored() -> None:
    image = np.zeros((375, 1242, 3), np.uint8)
    image[:, :621] = 255
    label = np.zeros((375, 1242), np.uint8)
    mirrored = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        pixels, _ = augmentation.view(image, label, (160, 576), 160 * 576, rng)
        mirrored += pixels[:, :100].mean() < pixels[:, -100:].mean()
    assert 10 < mirrored < 30


def test_rotations_are_homographies_of_a_camera() -> None:
    # A point straight ahead of a camera that yaws by a moves by f tan(a).
    matrix = augmentation._rotation(400, 1000, np.array([0.0, 0.05, 0.0]))
    x, y, w = matrix @ (500, 200, 1)
    assert x / w - 500 == pytest.approx(augmentation.FOCAL_LENGTH * 1000 * np.tan(0.05))
    assert y / w == pytest.approx(200)


@pytest.mark.parametrize('effect', [effect for effect, _ in augmentation.WEATHER])
def test_every_effect_changes_the_image_within_reason(effect) -> None:
    rng = np.random.default_rng(0)
    image = rng.uniform(60, 190, (64, 96, 3)).astype(np.float32)
    before = image.copy()
    after = np.clip(effect(image, rng), 0, 255)
    assert after.shape == image.shape and np.isfinite(after).all()
    assert np.array_equal(image, before)  # not in place
    assert np.abs(after - before).mean() > 0.5


@pytest.mark.parametrize('weather', [False, True])
def test_looks_repeat_with_their_generator_and_only_cut_outs_change_labels(weather: bool) -> None:
    cut = 0
    for seed in range(30):
        results = []
        for _ in range(2):
            image = np.random.default_rng(1).integers(60, 190, (64, 96, 3), np.uint8)
            label = np.zeros((64, 96), np.uint8)
            augmentation.looks(image, label, np.random.default_rng(seed), weather)
            results.append((image, label))
        assert np.array_equal(results[0][0], results[1][0])
        assert np.array_equal(results[0][1], results[1][1])
        assert set(np.unique(label)) <= {0, NOT_SCORED}
        cut += NOT_SCORED in label
    assert cut == 0 if not weather else 0 < cut < 15


def test_tone_and_color_keeps_gray_gray_and_turns_hues_a_little() -> None:
    gray = np.full((8, 8, 3), 120, np.uint8)
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 200
    for seed in range(40):
        after = augmentation.tone_and_color(gray, np.random.default_rng(seed))
        assert np.ptp(after, axis=2).max() == 0
        after = augmentation.tone_and_color(red, np.random.default_rng(seed))[0, 0].astype(int)
        assert after[0] >= max(after[1:])  # still red, or gray
