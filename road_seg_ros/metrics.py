"""
The pixel scores of the KITTI road benchmark, and how well the probabilities are calibrated.

The rules are those of its devkit (Fritsch, Kuehnl & Geiger, ITSC 2013): counts are summed over
the images of a category at 256 thresholds of the 8-bit confidence, then MaxF is the best F1 over
the thresholds, and the average precision is the 11-point one of PASCAL VOC.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from road_seg_ros.pixels import threshold_level

NOT_ROAD, ROAD, NOT_SCORED = 0, 1, 255  # values of a label
TRUTH = {ROAD: 255, NOT_ROAD: 0, NOT_SCORED: 127}  # and what is shown for them in a bag's mask
LEVELS = 256  # of an 8-bit confidence
CALIBRATION_BINS = 15  # as in Guo et al.


@dataclass
class RoadCounts:
    """How many road and not-road pixels have each confidence. Two int64 arrays of 256."""

    road: np.ndarray = field(default_factory=lambda: np.zeros(LEVELS, np.int64))
    not_road: np.ndarray = field(default_factory=lambda: np.zeros(LEVELS, np.int64))

    def add(self, confidence: np.ndarray, label: np.ndarray) -> None:
        """
        Count one image.

        confidence: uint8 (H, W); label: uint8 (H, W) of NOT_ROAD, ROAD and NOT_SCORED, which
        counts nowhere. ValueError if the shapes differ.
        """
        if confidence.shape != label.shape:
            raise ValueError(f'confidence is {confidence.shape}, label is {label.shape}')
        self.road += np.bincount(confidence[label == ROAD], minlength=LEVELS)
        self.not_road += np.bincount(confidence[label == NOT_ROAD], minlength=LEVELS)

    def __add__(self, other: RoadCounts) -> RoadCounts:
        return RoadCounts(self.road + other.road, self.not_road + other.not_road)

    def curves(self) -> Curves:
        """Return what each threshold gives; see `threshold_curves`."""
        return threshold_curves(self.road, self.not_road)

    def scores(self, operating_threshold: float | None = None) -> dict[str, float]:
        """
        Return the benchmark's scores and the calibration error; percentages are 0..100.

        max_f, precision, recall, fpr, fnr: at `threshold` (0..1), the one with the best F1.
        avg_precision: 11-point. iou: of the road at operating_threshold (0..1), the one that the
        model ships with; at `threshold` if that is None. ece: see `calibration_error`.
        ValueError without any road pixel.
        """
        if not self.road.sum():
            raise ValueError('there is no road pixel to score')
        curves = self.curves()
        best = int(curves.f1.argmax())
        level = best if operating_threshold is None else threshold_level(operating_threshold)
        return {
            'max_f': 100 * float(curves.f1[best]),
            'avg_precision': 100 * _average_precision(curves.precision, curves.recall),
            'precision': 100 * float(curves.precision[best]),
            'recall': 100 * float(curves.recall[best]),
            'fpr': 100 * float(curves.fpr[best]),
            'fnr': 100 * float(1 - curves.recall[best]),
            'threshold': best / (LEVELS - 1),
            'iou': 100 * float(curves.iou[level]),
            'ece': calibration_error(self.reliability()),
        }

    def reliability(self) -> Reliability:
        """
        Return the pixels in 15 equal-width bins of the road probability.

        As Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, with the one class
        road: a bin holds its upper edge but not its lower one (probability 0 is in the first).
        """
        levels = np.arange(LEVELS)
        # Whole numbers, because levels such as 17 / 255 lie exactly on an edge.
        bins = np.maximum(-(-levels * CALIBRATION_BINS // (LEVELS - 1)) - 1, 0)
        total = self.road + self.not_road
        pixels, road, level_sum = (
            np.bincount(bins, weights, CALIBRATION_BINS)
            for weights in (total, self.road, total * levels)
        )
        filled = np.where(pixels > 0, pixels, np.nan)
        return Reliability(pixels, level_sum / filled / (LEVELS - 1), road / filled)


@dataclass(frozen=True)
class Curves:
    """What each threshold gives: float64 (..., 256) each, 0..1, index k is threshold k / 255."""

    precision: np.ndarray
    recall: np.ndarray
    fpr: np.ndarray
    f1: np.ndarray
    iou: np.ndarray


@dataclass(frozen=True)
class Reliability:
    """
    Bins of the road probability. Float64 (15,) each.

    pixels: how many are in the bin; confidence: their mean road probability, 0..1; road: the share
    of them that is road, 0..1. The last two are NaN where a bin is empty.
    """

    pixels: np.ndarray
    confidence: np.ndarray
    road: np.ndarray


def threshold_curves(road: np.ndarray, not_road: np.ndarray) -> Curves:
    """
    Turn counts per confidence into what each threshold gives.

    road, not_road: (..., 256) numbers of pixels. A pixel is called road where its confidence is
    at least the threshold. What would be 0 / 0 is 0.
    """
    true_positive = road[..., ::-1].cumsum(-1)[..., ::-1]
    false_positive = not_road[..., ::-1].cumsum(-1)[..., ::-1]
    positives = np.maximum(true_positive[..., :1], 1)  # threshold 0 calls everything road
    negatives = np.maximum(false_positive[..., :1], 1)
    recall = true_positive / positives
    precision = true_positive / np.maximum(true_positive + false_positive, 1)
    return Curves(
        precision=precision,
        recall=recall,
        fpr=false_positive / negatives,
        f1=2 * precision * recall / np.maximum(precision + recall, 1e-10),
        iou=true_positive / (positives + false_positive),
    )


def calibration_error(reliability: Reliability) -> float:
    """
    Return the expected calibration error (Guo et al., 2017) as a percentage, 0..100.

    The distance between mean road probability and share of road, averaged over all pixels.
    """
    gap = np.abs(reliability.confidence - reliability.road)
    return 100 * float(np.nansum(gap * reliability.pixels) / reliability.pixels.sum())


def _average_precision(precision: np.ndarray, recall: np.ndarray) -> float:
    called = recall > 0  # the devkit leaves out thresholds where recall and precision are both 0
    points = [
        precision[called & (recall >= level)].max(initial=0.0) for level in np.linspace(0, 1, 11)
    ]
    return float(np.mean(points))
