"""Whether an exported file gives what its network gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from road_seg_ros import synthetic
from road_seg_ros.checkpoint import ModelInfo
from road_seg_ros.engines.on_cpu import CpuEngine
from road_seg_ros.engines.torch_engine import RoadProbability
from road_seg_ros.fcn8 import FCN8
from road_seg_ros.pixels import resize
from road_seg_ros.segmenter import RoadSegmenter
from training.exportable import ExportError
from training.kitti_road import Pair
from training.metrics import RoadCounts

# Of the road probability. Float: one step of the 8-bit confidence. Summing float32 in another
# order makes some 1e-5; a wrong normalisation or half a pixel of shift makes far more.
FLOAT_MAX_DIFFERENCE = 1 / 255
# int8 moves single pixels of an edge by tenths, so its average is bounded instead: the model
# that ships has 0.001; at 0.01 the model's threshold would have to be chosen again.
INT8_MEAN_DIFFERENCE = 0.01
# Percentage points. Two training runs of one configuration differ by more.
MAX_F_DROP = 0.3

# A file for any size is also tried on sides that are no multiple of 32.
ODD_SIZES = ((97, 131), (201, 160))
SYNTHETIC_SCENES = 4
SCENE_SIZE = (188, 621)  # half a KITTI frame each way: quick to render

Run = Callable[[np.ndarray], np.ndarray]  # uint8 (N, H, W, 3) BGR -> float32 (N, H, W)


class CheckError(ExportError):
    """An exported file that does not give what the network gives."""


class Difference:
    """How far two road probabilities are apart, over all the images added."""

    def __init__(self) -> None:
        self.max = 0.0
        self.images = 0
        self._sum, self._pixels = 0.0, 0

    @property
    def mean(self) -> float:
        """The mean absolute difference of a pixel."""
        return self._sum / max(self._pixels, 1)

    def add(self, expected: np.ndarray, got: np.ndarray) -> None:
        """Add float32 (N, H, W) each. CheckError if shapes differ or a value is not finite."""
        if got.shape != expected.shape:
            raise CheckError(
                f'the file gives shape {got.shape} where the network gives {expected.shape}'
            )
        if not np.isfinite(got).all():
            raise CheckError('the file gives values that are not finite')
        apart = np.abs(got - expected)
        self.max = max(self.max, float(apart.max()))
        self.images += len(apart)
        self._sum += float(apart.sum(dtype=np.float64))
        self._pixels += apart.size


def check(
    run: Run, network: FCN8, info: ModelInfo, any_size: bool, int8: bool, pairs: Sequence[Pair]
) -> list[str]:
    """
    Compare a file with its network and return the findings, in lines of text.

    run: runs the file; any_size: whether it takes any height and width. pairs: labelled images
    that were not used to make the file; without any, synthetic scenes are compared, not scored.
    CheckError if they are further apart than the tolerances above.
    """
    network_run = _run_with_torch(network, info)
    difference = Difference()
    images = [pair.read_image() for pair in pairs[:SYNTHETIC_SCENES]] or [
        synthetic.render(seed, *SCENE_SIZE).image for seed in range(SYNTHETIC_SCENES)
    ]
    for batch in _batches(images, info, any_size):
        difference.add(network_run(batch), run(batch))
    scores = _compare_on_pairs(run, network_run, info, pairs, difference) if pairs else None

    found = (
        f'road probability differs from the network by {difference.max:.2g} at most, '
        f'{difference.mean:.2g} on average'
    )
    if not int8 and difference.max > FLOAT_MAX_DIFFERENCE:
        raise CheckError(f'{found}; {FLOAT_MAX_DIFFERENCE:.2g} at most is allowed')
    if int8 and difference.mean > INT8_MEAN_DIFFERENCE:
        raise CheckError(f'{found}; {INT8_MEAN_DIFFERENCE:.2g} on average is allowed')
    lines = [f'{found} ({difference.images} images)']
    if scores is not None:
        expected, got = scores
        max_f = f'MaxF {got["max_f"]:.2f}, of the network {expected["max_f"]:.2f}'
        if expected['max_f'] - got['max_f'] > MAX_F_DROP:
            raise CheckError(f'{max_f}; {MAX_F_DROP} less is allowed')
        lines.append(
            f"{max_f}; IoU at the model's threshold {got['iou']:.2f}, of the network "
            f'{expected["iou"]:.2f} ({len(pairs)} images)'
        )
    return lines


def fit(image: np.ndarray, info: ModelInfo) -> np.ndarray:
    """Resize an image, uint8 (H, W, 3) BGR, as the node does before it runs the network."""
    return resize(image, info.input.fit(*image.shape[:2]))


class _Engine(CpuEngine):
    """Lets RoadSegmenter run a file, and keeps the road probability that it gave last."""

    name = 'export'

    def __init__(self, run: Run, info: ModelInfo) -> None:
        super().__init__(info.input, precision='')
        self._run = run

    def road_probability(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) BGR -> road probability, float32 (H, W)."""
        self.last = self._run(pixels[None])[0]
        return self.last

    def close(self) -> None:
        """Nothing to free."""


def _compare_on_pairs(
    run: Run, network_run: Run, info: ModelInfo, pairs: Sequence[Pair], difference: Difference
) -> tuple[dict[str, float], dict[str, float]]:
    """Add every image to difference; return the scores of the network and of the file."""
    engines = _Engine(network_run, info), _Engine(run, info)
    segmenters = [RoadSegmenter(engine, info) for engine in engines]
    counts = RoadCounts(), RoadCounts()
    for pair in pairs:
        image, label = pair.read()
        for segmenter, count in zip(segmenters, counts, strict=True):
            count.add(segmenter(image).confidence, label)
        difference.add(engines[0].last[None], engines[1].last[None])
    return counts[0].scores(info.threshold), counts[1].scores(info.threshold)


def _batches(
    images: Sequence[np.ndarray], info: ModelInfo, any_size: bool
) -> Iterator[np.ndarray]:
    """Yield uint8 (N, H, W, 3) with all images in one batch, then in other sizes and numbers."""
    size = info.input.fit(*images[0].shape[:2])
    yield np.stack([resize(image, size) for image in images])
    yield resize(images[0], size)[None]
    if any_size:
        for number, odd_size in enumerate(ODD_SIZES, 1):
            yield np.stack([resize(image, odd_size) for image in images[:number]])


def _run_with_torch(network: FCN8, info: ModelInfo) -> Run:
    model = RoadProbability(network.float(), info).eval()

    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.tensor(images)).numpy()

    return run
