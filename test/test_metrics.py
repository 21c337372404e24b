"""The scores are the devkit's: a slow, obvious reference gives the same numbers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from road_seg_ros.pixels import threshold_level, threshold_mask
from training.kitti_road import NOT_ROAD, NOT_SCORED, ROAD
from training.metrics import RoadCounts


def _reference(images: list[tuple[np.ndarray, np.ndarray]], operating_level: int) -> dict:
    """Count every pixel at every threshold, in plain Python, as the rules are written."""
    curve = []
    for level in range(256):
        tp = fp = fn = tn = 0
        for confidence, label in images:
            for value, truth in zip(confidence.flat, label.flat, strict=True):
                if truth == NOT_SCORED:
                    continue
                called = value >= level
                if truth == ROAD:
                    tp, fn = tp + called, fn + (not called)
                else:
                    fp, tn = fp + called, tn + (not called)
        curve.append((tp, fp, fn, tn))

    def precision(tp: int, fp: int, fn: int, tn: int) -> float:
        return tp / (tp + fp) if tp + fp else 0.0

    def recall(tp: int, fp: int, fn: int, tn: int) -> float:
        return tp / (tp + fn)

    def f1(*counts: int) -> float:
        p, r = precision(*counts), recall(*counts)
        return 2 * p * r / (p + r) if p + r else 0.0

    best = max(range(256), key=lambda level: f1(*curve[level]))
    points = []
    for wanted in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        reached = [precision(*c) for c in curve if c[0] and recall(*c) >= wanted]
        points.append(max(reached, default=0.0))
    tp, fp, fn, tn = curve[best]
    at = curve[operating_level]
    return {
        'max_f': 100 * f1(*curve[best]),
        'avg_precision': 100 * sum(points) / 11,
        'precision': 100 * precision(*curve[best]),
        'recall': 100 * recall(*curve[best]),
        'fpr': 100 * fp / (fp + tn),
        'fnr': 100 * fn / (tp + fn),
        'threshold': best / 255,
        'iou': 100 * at[0] / (at[0] + at[1] + at[2]),
        'ece': _reference_calibration_error(images),
    }


def _reference_calibration_error(images: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Sort every pixel into one of 15 bins, in fractions, and average the gaps in percent."""
    bins: list[list[tuple[Fraction, bool]]] = [[] for _ in range(15)]
    for confidence, label in images:
        for value, truth in zip(confidence.flat, label.flat, strict=True):
            if truth == NOT_SCORED:
                continue
            probability = Fraction(int(value), 255)
            index = next(i for i in range(15) if probability <= Fraction(i + 1, 15))
            bins[index].append((probability, bool(truth == ROAD)))
    total = sum(len(members) for members in bins)
    error = Fraction(0)
    for members in filter(None, bins):
        mean = sum(probability for probability, _ in members) / len(members)
        share = Fraction(sum(road for _, road in members), len(members))
        error += abs(mean - share) * len(members) / total
    return float(100 * error)


def _random_images(seed: int, quality: float) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    images = []
    for shape in ((7, 9), (8, 5), (6, 6)):
        label = rng.choice([NOT_ROAD, ROAD, NOT_SCORED], shape, p=[0.5, 0.3, 0.2]).astype(np.uint8)
        noise = rng.integers(0, 256, shape)
        truth = np.where(label == ROAD, 255, 0)
        confidence = np.clip(quality * truth + (1 - quality) * noise, 0, 255)
        images.append((confidence.astype(np.uint8), label))
    return images


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('quality', [0.0, 0.3, 0.6, 1.0])
def test_scores_equal_the_slow_reference(seed: int, quality: float) -> None:
    images = _random_images(seed, quality)
    counts = RoadCounts()
    for confidence, label in images:
        counts.add(confidence, label)
    expected = _reference(images, operating_level=100)
    assert counts.scores(100 / 255) == pytest.approx(expected)


def test_a_threshold_calls_the_same_pixels_road_as_the_node() -> None:
    confidences = np.arange(256, dtype=np.uint8)[None]
    for threshold in np.arange(0, 255.5, 0.5) / 255:
        called = np.count_nonzero(threshold_mask(confidences, threshold))
        assert threshold_level(threshold) == 256 - called


def test_confidences_on_the_edge_of_a_bin_belong_to_the_lower_one() -> None:
    counts = RoadCounts()  # 17 / 255 is 1 / 15
    counts.add(np.array([[0, 17, 18, 34, 255]], np.uint8), np.full((1, 5), ROAD, np.uint8))
    assert counts.reliability().pixels.tolist() == [2, 2, *[0] * 12, 1]


def test_a_calibrated_confidence_has_no_calibration_error() -> None:
    label = np.array([[ROAD, NOT_ROAD, NOT_ROAD, NOT_ROAD, NOT_ROAD]], np.uint8)
    counts = RoadCounts()
    counts.add(np.full((1, 5), 51, np.uint8), label)  # 51 / 255 is one fifth
    assert counts.scores()['ece'] == pytest.approx(0.0)
    overconfident = RoadCounts()
    overconfident.add(np.full((1, 5), 204, np.uint8), label)
    assert overconfident.scores()['ece'] == pytest.approx(60.0)


def test_a_perfect_confidence_scores_100() -> None:
    label = np.array([[ROAD, NOT_ROAD, NOT_SCORED]], np.uint8)
    counts = RoadCounts()
    counts.add(np.array([[255, 0, 0]], np.uint8), label)
    scores = counts.scores(0.5)
    assert [scores[k] for k in ('max_f', 'avg_precision', 'iou')] == [100.0, 100.0, 100.0]
    assert [scores[k] for k in ('fpr', 'fnr')] == [0.0, 0.0]


def test_pixels_that_are_not_scored_count_nowhere() -> None:
    label = np.array([[ROAD, NOT_ROAD, NOT_SCORED]], np.uint8)
    scores = []
    for unscored in (0, 255):
        counts = RoadCounts()
        counts.add(np.array([[200, 100, unscored]], np.uint8), label)
        scores.append(counts.scores(0.5))
    assert scores[0] == scores[1]


def test_counts_of_images_add_up() -> None:
    images = _random_images(0, 0.5)
    together, parts = RoadCounts(), RoadCounts()
    for confidence, label in images:
        together.add(confidence, label)
        single = RoadCounts()
        single.add(confidence, label)
        parts = parts + single
    assert parts.scores() == together.scores()


def test_without_an_operating_threshold_iou_is_that_of_the_best_f1() -> None:
    counts = RoadCounts()
    for confidence, label in _random_images(1, 0.5):
        counts.add(confidence, label)
    scores = counts.scores()
    f1 = scores['max_f'] / 100
    assert scores['iou'] == pytest.approx(100 * f1 / (2 - f1))


def test_sizes_must_match() -> None:
    with pytest.raises(ValueError, match=r'confidence is \(2, 2\), label is \(2, 3\)'):
        RoadCounts().add(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8))


def test_without_road_there_is_no_score() -> None:
    with pytest.raises(ValueError, match='no road pixel'):
        RoadCounts().scores()
