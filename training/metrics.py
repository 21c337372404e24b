"""
The pixel scores of the KITTI road benchmark.

The rules are those of its devkit (Fritsch, Kuehnl & Geiger, ITSC 2013): counts are summed over
the images of a category at 256 thresholds of the 8-bit confidence, then MaxF is the best F1 over
the thresholds, and the average precision is the 11-point one of PASCAL VOC.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from training.kitti_road import NOT_ROAD, ROAD

LEVELS = 256  # of an 8-bit confidence


@dataclass
class RoadCounts:
    """How many road and not-road pixels have each confidence. Two int64 arrays of 256."""

    road: np.ndarray = field(default_factory=lambda: np.zeros(LEVELS, np.int64))
    not_road: np.ndarray = field(default_factory=lambda: np.zeros(LEVELS, np.int64))

    def add(self, confidence: np.ndarray, label: np.ndarray) -> None:
        """
        Count one image.

        confidence: uint8 (H, W); label: uint8 (H, W) as `Pair.read_label` gives it. Pixels that
        are NOT_SCORED count nowhere. ValueError if the shapes differ.
        """
        if confidence.shape != label.shape:
            raise ValueError(f'confidence is {confidence.shape}, label is {label.shape}')
        self.road += np.bincount(confidence[label == ROAD], minlength=LEVELS)
        self.not_road += np.bincount(confidence[label == NOT_ROAD], minlength=LEVELS)

    def __add__(self, other: RoadCounts) -> RoadCounts:
        return RoadCounts(self.road + other.road, self.not_road + other.not_road)

    def scores(self, operating_threshold: float | None = None) -> dict[str, float]:
        """
        Return the benchmark's scores; percentages are 0..100.

        max_f, precision, recall, fpr, fnr: at `threshold` (0..1), the one with the best F1.
        avg_precision: 11-point. iou: of the road at operating_threshold (0..1), the one that the
        model ships with; at `threshold` if that is None. ValueError without any road pixel.
        """
        if not self.road.sum():
            raise ValueError('there is no road pixel to score')
        # A pixel is called road where its confidence is at least the threshold level.
        true_positive = self.road[::-1].cumsum()[::-1]
        false_positive = self.not_road[::-1].cumsum()[::-1]
        positives, negatives = self.road.sum(), self.not_road.sum()
        recall = true_positive / positives
        precision = true_positive / np.maximum(true_positive + false_positive, 1)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-10)
        best = int(f1.argmax())
        iou = true_positive / (positives + false_positive)
        level = best
        if operating_threshold is not None:
            level = int(np.ceil(operating_threshold * (LEVELS - 1) - 1e-9))
        return {
            'max_f': 100 * float(f1[best]),
            'avg_precision': 100 * _average_precision(precision, recall),
            'precision': 100 * float(precision[best]),
            'recall': 100 * float(recall[best]),
            'fpr': 100 * float(false_positive[best] / max(negatives, 1)),
            'fnr': 100 * float(1 - recall[best]),
            'threshold': best / (LEVELS - 1),
            'iou': 100 * float(iou[level]),
        }


def _average_precision(precision: np.ndarray, recall: np.ndarray) -> float:
    called = recall > 0  # the devkit leaves out thresholds where recall and precision are both 0
    points = [
        precision[called & (recall >= level)].max(initial=0.0) for level in np.linspace(0, 1, 11)
    ]
    return float(np.mean(points))
