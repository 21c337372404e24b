"""Whether an exported file gives what its network gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np
import torch

from road_seg_ros import synthetic
from road_seg_ros.checkpoint import Checkpoint, ModelInfo
from road_seg_ros.engines import Engine, Segmentation
from road_seg_ros.engines.on_cpu import CpuEngine
from road_seg_ros.engines.torch_engine import RoadProbability, TorchEngine
from road_seg_ros.fcn8 import FCN8
from road_seg_ros.metrics import RoadCounts
from road_seg_ros.pixels import resize
from road_seg_ros.segmenter import RoadSegmenter
from training.exportable import ExportError
from training.kitti_road import Pair

# Of the road probability. Float: one step of the 8-bit confidence. Summing float32 in another
# order makes some 1e-5; a wrong normalisation or half a pixel of shift makes far more.
FLOAT_MAX_DIFFERENCE = 1 / 255
# int8 moves single pixels of an edge by tenths, so its average is bounded instead: the model
# that ships has 0.001; at 0.01 the model's threshold would have to be chosen again.
INT8_MEAN_DIFFERENCE = 0.01
# Percentage points. Two training runs of one configuration differ by more.
MAX_F_DROP = 0.3
MASK_IOU = 0.985  # of int8 with float32, over all images

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


def check_engine(
    engine: Engine, checkpoint: Checkpoint, pairs: Sequence[Pair]
) -> dict[str, float]:
    """
    Compare an engine with PyTorch in float32 on labelled images.

    Returns max_f and iou (at the model's threshold) of PyTorch, max_f_int8 and iou_int8 of the
    engine, and mask_iou between their masks; all 0..100.
    CheckError if MaxF drops, or the masks differ, by more than the tolerances above.
    """
    info = checkpoint.info
    reference = TorchEngine(checkpoint.network(), info, 'fp32')
    segmenters = RoadSegmenter(reference, info), RoadSegmenter(engine, info)
    counts = RoadCounts(), RoadCounts()
    both = either = 0
    for expected, got in _results(segmenters, counts, pairs):
        both += np.count_nonzero(expected.mask & got.mask)
        either += np.count_nonzero(expected.mask | got.mask)
    expected, got = (count.scores(info.threshold) for count in counts)
    metrics = {
        'max_f': expected['max_f'],
        'max_f_int8': got['max_f'],
        'iou': expected['iou'],
        'iou_int8': got['iou'],
        'mask_iou': 100 * both / either if either else 100.0,
    }
    if metrics['max_f'] - metrics['max_f_int8'] > MAX_F_DROP:
        raise CheckError(
            f'in int8 the node has MaxF {metrics["max_f_int8"]:.2f}, in float32 '
            f'{metrics["max_f"]:.2f}; {MAX_F_DROP} less is allowed'
        )
    if metrics['mask_iou'] < 100 * MASK_IOU:
        raise CheckError(
            f"the node's masks in int8 and float32 have an IoU of {metrics['mask_iou']:.1f} %; "
            f'at least {100 * MASK_IOU:.1f} % must be'
        )
    return metrics


def fit(image: np.ndarray, info: ModelInfo) -> np.ndarray:
    """Resize an image, uint8 (H, W, 3) BGR, as the node does before it runs the network."""
    return resize(image, info.input.fit(*image.shape[:2]))


class _Engine(CpuEngine):
    """Lets RoadSegmenter run a file, and keeps the road probability that it gave last."""

    name = 'export'

    def __init__(self, run: Run, info: ModelInfo) -> None:
        super().__init__(info.input, precision='')
        self._run = run

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) BGR -> round(255 x road probability), uint8 (H, W)."""
        self.last = self._run(pixels[None])[0]
        return cv2.convertScaleAbs(self.last, alpha=255.0)

    def close(self) -> None:
        """Nothing to free."""


def _compare_on_pairs(
    run: Run, network_run: Run, info: ModelInfo, pairs: Sequence[Pair], difference: Difference
) -> tuple[dict[str, float], dict[str, float]]:
    """Add every image to difference; return the scores of the network and of the file."""
    engines = _Engine(network_run, info), _Engine(run, info)
    segmenters = [RoadSegmenter(engine, info) for engine in engines]
    counts = RoadCounts(), RoadCounts()
    for _ in _results(segmenters, counts, pairs):
        difference.add(engines[0].last[None], engines[1].last[None])
    return counts[0].scores(info.threshold), counts[1].scores(info.threshold)


def _results(
    segmenters: Sequence[RoadSegmenter], counts: Sequence[RoadCounts], pairs: Sequence[Pair]
) -> Iterator[list[Segmentation]]:
    """Yield what each segmenter gives for each image, and count it."""
    for pair in pairs:
        image, label = pair.read()
        results = [segmenter(image) for segmenter in segmenters]
        for result, count in zip(results, counts, strict=True):
            count.add(result.confidence, label)
        yield results


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
