"""
Make the confidence mean what it says: one temperature for all logits.

Guo, Pleiss, Sun & Weinberger, "On Calibration of Modern Neural Networks", ICML 2017.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from road_seg_ros.metrics import LEVELS, RoadCounts

LIMIT, STEP = 25.0, 0.05
BINS = round(2 * LIMIT / STEP) + 1  # of log odds in -LIMIT..LIMIT
CENTERS = np.linspace(-LIMIT, LIMIT, BINS)
TEMPERATURES = np.geomspace(0.25, 4, 401)


@dataclass
class LogitCounts:
    """How many road and not-road pixels have which log odds of road. Two int64 arrays of BINS."""

    road: np.ndarray = field(default_factory=lambda: np.zeros(BINS, np.int64))
    not_road: np.ndarray = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(self, logits: np.ndarray, is_road: np.ndarray) -> None:
        """Count scored pixels. logits: float (N,), the log odds of road; is_road: bool (N,)."""
        bins = np.clip(np.rint((logits + LIMIT) / STEP), 0, BINS - 1).astype(np.int64)
        self.road += np.bincount(bins[is_road], minlength=BINS)
        self.not_road += np.bincount(bins[~is_road], minlength=BINS)

    def confidences(self, temperature: float) -> RoadCounts:
        """Return the counts of the 8-bit confidences that these log odds give."""
        levels = np.rint(255 / (1 + np.exp(-CENTERS / temperature))).astype(np.int64)
        return RoadCounts(
            *(
                np.bincount(levels, counts, minlength=LEVELS).astype(np.int64)
                for counts in (self.road, self.not_road)
            )
        )

    def temperature(self) -> float:
        """Return the temperature, 0.25..4, with the least negative log likelihood."""
        scaled = CENTERS / TEMPERATURES[:, None]  # (temperatures, bins)
        loss = np.logaddexp(0, -scaled) @ self.road + np.logaddexp(0, scaled) @ self.not_road
        return float(TEMPERATURES[loss.argmin()])


def move_threshold(threshold: float, temperature: float) -> float:
    """Return the probability that `threshold` becomes when its log odds are divided by T."""
    threshold = min(max(threshold, 1e-6), 1 - 1e-6)
    return float(1 / (1 + np.exp(-np.log(threshold / (1 - threshold)) / temperature)))
