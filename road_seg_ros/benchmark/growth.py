"""How time and memory grow with the size of the image, the network's own size held constant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from road_seg_ros.benchmark import machine
from road_seg_ros.benchmark.timing import Durations, interleave, timed

if TYPE_CHECKING:
    from road_seg_ros.segmenter import RoadSegmenter

SIZES = ((320, 240), (640, 480), (1280, 720), (1920, 1080), (2560, 1440), (3840, 2160))  # w, h


@dataclass(frozen=True)
class Line:
    """
    The straight line through medians over megapixels: ms = base_ms + ms_per_megapixel * MP.

    r_squared: the share of the medians' variance that the line explains.
    """

    base_ms: float
    ms_per_megapixel: float
    r_squared: float


@dataclass(frozen=True)
class Growth:
    """Durations from image to mask by WIDTHxHEIGHT, and the line through their medians."""

    durations: dict[str, Durations]
    line: Line


def measure(
    segmenters: Mapping[str, RoadSegmenter], image: np.ndarray, repeats: int
) -> dict[str, Growth]:
    """
    Measure every segmenter with one image in every size, in turns.

    image: uint8 (H, W, 3) BGR; repeats: of each size. The segmenters should see every image at
    one size of the network's, or what grows is the network.
    """
    images = {f'{w}x{h}': cv2.resize(image, (w, h)) for w, h in SIZES}
    samplers = {
        (name, size): timed(size, lambda _, p=p, s=s: s.submit(p, confidence=False)())
        for name, s in segmenters.items()
        for size, p in images.items()
    }
    found = interleave(samplers, [None], repeats)
    durations = {name: {size: found[name, size][size] for size in images} for name in segmenters}
    megapixels = [picture.size / 3e6 for picture in images.values()]
    return {
        name: Growth(sizes, fit_line(megapixels, [d.median for d in sizes.values()]))
        for name, sizes in durations.items()
    }


def fit_line(megapixels: Sequence[float], ms: Sequence[float]) -> Line:
    """Fit a line through at least two points, with least squares."""
    slope, base = np.polyfit(megapixels, ms, 1)
    residuals = np.asarray(ms) - (base + slope * np.asarray(megapixels))
    variance = float(np.var(ms))
    r_squared = 1.0 if variance == 0 else 1 - float(np.mean(residuals**2)) / variance
    return Line(float(base), float(slope), r_squared)


def memory_over_time(
    segmenters: Mapping[str, RoadSegmenter], image: np.ndarray, rounds: int
) -> list[float]:
    """
    Return this process's memory, MB, after each round in which every segmenter sees every size.

    image: as for `measure`. A leak of an image or of a compiled size shows as a slope.
    """
    images = [cv2.resize(image, size) for size in SIZES]
    resident = []
    for _ in range(rounds):
        for segmenter in segmenters.values():
            for picture in images:
                segmenter(picture)
        resident.append(machine.resident_mb())
    return resident
