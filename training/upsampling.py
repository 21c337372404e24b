"""
Compare ways to bring the network's scores to the size of the image.

    python -m training.upsampling --data KITTI_DIR

The network scores every 8th pixel, its last layer upsamples that 8 times to its own size, and the
image is larger again. The table has the edge's F1 within 1, 3 and 5 pixels of the labelled one
(`training.boundary`), MaxF, IoU at the model's threshold, and the milliseconds from those scores
to the 8-bit confidence, in NumPy, OpenCV and PyTorch.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn import functional
from tqdm import tqdm

from road_seg_ros import checkpoint, markdown
from road_seg_ros.architecture import by_place
from road_seg_ros.arguments import whole_number
from road_seg_ros.checkpoint import ModelInfo
from road_seg_ros.engines.torch_engine import RoadProbability
from road_seg_ros.fcn8 import FCN8
from road_seg_ros.metrics import RoadCounts
from road_seg_ros.pixels import resize, threshold_mask
from training import command
from training.boundary import TOLERANCES, BoundaryCounts
from training.kitti_road import Pair, find_pairs

COLUMNS = (*(f'edge F1, {pixels} px' for pixels in TOLERANCES), 'MaxF', 'IoU', 'ms')

# Scores, float32 (2, H / 8, W / 8) of the network's size, and (height, width) of the image ->
# confidence, uint8 (height, width).
Way = Callable[[np.ndarray, tuple[int, int]], np.ndarray]


def ways(network: FCN8, info: ModelInfo) -> dict[str, Way]:
    """Return every way by its name; the first is that of the OpenVINO engine."""
    layer = network.upsample3
    weight, bias = layer.weight.detach(), layer.bias.detach()
    places = torch.from_numpy(by_place(weight.numpy()))
    constant = float(bias[1] - bias[0])
    # What the learned layer does to scores that are the same everywhere.
    gain = (weight[:, 1] - weight[:, 0]).sum((1, 2)).numpy() / layer.stride[0] ** 2

    def two_channels(scores: np.ndarray) -> np.ndarray:
        logits = layer(torch.from_numpy(scores)[None])[0].numpy()
        return (logits[1] - logits[0]) / info.temperature

    def one_channel(scores: np.ndarray) -> np.ndarray:
        logits = functional.conv2d(torch.from_numpy(scores)[None], places, padding=1)
        logits = functional.pixel_shuffle(logits, layer.stride[0])[0, 0].numpy()
        return (logits + constant) / info.temperature

    def no_layer(scores: np.ndarray) -> np.ndarray:
        return (np.tensordot(gain, scores, 1) + constant) / info.temperature

    return {
        'learned layer, one channel; 8-bit probability, linear': lambda scores, size: _resized(
            _levels(_sigmoid(one_channel(scores))), size
        ),
        'learned layer; probability, linear': lambda scores, size: _levels(
            _resized(_sigmoid(two_channels(scores)), size)
        ),
        'learned layer, one channel; logits, linear': lambda scores, size: _levels(
            _sigmoid(_resized(one_channel(scores), size))
        ),
        'learned layer, one channel; logits, cubic': lambda scores, size: _levels(
            _sigmoid(_resized(one_channel(scores), size, cv2.INTER_CUBIC))
        ),
        'no layer; logits, linear': lambda scores, size: _levels(
            _sigmoid(_resized(no_layer(scores), size))
        ),
        'no layer; logits, cubic': lambda scores, size: _levels(
            _sigmoid(_resized(no_layer(scores), size, cv2.INTER_CUBIC))
        ),
    }


def compare(network: FCN8, info: ModelInfo, pairs: Sequence[Pair]) -> list[tuple[str, ...]]:
    """Return a row of the table for every way. SourceError on a pair that cannot be read."""
    compared = ways(network, info)
    found = {name: (BoundaryCounts(), RoadCounts(), []) for name in compared}
    for pair in tqdm(pairs, unit='image'):
        image, label = pair.read()
        with torch.inference_mode():
            scores = _scores(network, info, image)
            for name, way in compared.items():
                boundary, road, times = found[name]
                start = time.perf_counter()
                confidence = way(scores, label.shape)
                times.append(1e3 * (time.perf_counter() - start))
                boundary.add(threshold_mask(confidence, info.threshold), label)
                road.add(confidence, label)
    rows = []
    for name, (boundary, road, times) in found.items():
        scored = road.scores(info.threshold)
        values = [*boundary.f1().values(), scored['max_f'], scored['iou'], float(np.median(times))]
        rows.append((name, *(f'{value:.2f}' for value in values)))
    return rows


def _scores(network: FCN8, info: ModelInfo, image: np.ndarray) -> np.ndarray:
    """Return the scores before the last upsampling, float32 (2, H / 8, W / 8)."""
    kept = []
    hook = network.upsample3.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
    try:
        pixels = resize(image, info.input.fit(*image.shape[:2]))
        RoadProbability(network, info)(torch.from_numpy(pixels)[None])
    finally:
        hook.remove()
    return kept[0][0].numpy()


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(logits).sigmoid().numpy()


def _levels(probability: np.ndarray) -> np.ndarray:
    return cv2.convertScaleAbs(probability, alpha=255.0)


def _resized(
    pixels: np.ndarray, size: tuple[int, int], interpolation: int = cv2.INTER_LINEAR
) -> np.ndarray:
    return cv2.resize(pixels, size[::-1], interpolation=interpolation)


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, compare and print the table. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', default='', help='model file; default: the one that ships')
    parser.add_argument(
        '--data', type=Path, required=True, help='folder with training/image_2 and gt_image_2'
    )
    parser.add_argument(
        '--every', type=whole_number(1), default=1, help='take every Nth image; default 1'
    )
    args = parser.parse_args(arguments)
    try:
        pairs = find_pairs(args.data)[:: args.every]
        rows = compare(*checkpoint.load(args.model), pairs)
    except (ValueError, OSError) as error:  # CheckpointError, SourceError
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(markdown.table(('way', *COLUMNS), rows))
    return 0


if __name__ == '__main__':
    command.run(main)
