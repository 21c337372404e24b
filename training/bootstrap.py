"""How far the scores of one set of images would move with another draw of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from road_seg_ros.metrics import RoadCounts, threshold_curves
from road_seg_ros.pixels import threshold_level
from training.kitti_road import URBAN

RESAMPLES = 1000
PERCENTILES = (2.5, 97.5)
SEED = 0


def confidence_intervals(
    images: Mapping[str, Sequence[RoadCounts]], operating_threshold: float
) -> dict[str, dict[str, list[float]]]:
    """
    Return 95 % intervals of `max_f` and `iou`, for URBAN and each category.

    images: the counts of each image, by category. iou: at operating_threshold (0..1). An interval
    is [low, high], percentages 0..100.

    The percentile bootstrap (Efron, 1979): the images of each category are drawn with replacement
    1000 times, as many as there are, with a fixed seed. Neighbouring images of KITTI come from one
    drive and look alike, which drawing them one by one ignores: the true intervals are wider. Nor
    do they cover another training run, or other streets. A category of one image has an interval
    without width, which says nothing.
    """
    rng = np.random.default_rng(SEED)
    resampled: dict[str, np.ndarray] = {}
    for category in sorted(images):
        # float64 multiplies fast and holds every count exactly
        counts = np.array([[image.road, image.not_road] for image in images[category]], float)
        share = np.full(len(counts), 1 / len(counts))
        weights = rng.multinomial(len(counts), share, RESAMPLES).astype(float)  # (1000, images)
        resampled[category] = np.tensordot(weights, counts, axes=1)  # (1000, 2, 256)
    everything = np.sum(list(resampled.values()), axis=0)
    return {
        category: _intervals(counts, threshold_level(operating_threshold))
        for category, counts in {URBAN: everything, **resampled}.items()
    }


def _intervals(counts: np.ndarray, level: int) -> dict[str, list[float]]:
    curves = threshold_curves(counts[:, 0], counts[:, 1])  # (1000, 256) each
    samples = {'max_f': curves.f1.max(axis=1), 'iou': curves.iou[:, level]}
    return {
        name: [float(100 * bound) for bound in np.percentile(values, PERCENTILES)]
        for name, values in samples.items()
    }
