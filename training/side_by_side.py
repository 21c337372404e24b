"""
Time the node's way from image to mask beside what one would use instead, and each step to it.

    python -m training.side_by_side --frames DIR

Everything gets the same images, sees them at the same size and gives a mask of the image's size;
all take turns. The steps begin with the network as a notebook would run it and end with what the
node does. Beside them: ONNX Runtime with our own export, and networks of torchvision, whose random
weights take the time that trained ones take.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torchvision.models import segmentation

from road_seg_ros import checkpoint, markdown
from road_seg_ros.arguments import height_by_width, new_file, whole_number
from road_seg_ros.benchmark import machine, samples
from road_seg_ros.benchmark.samples import Choice, Model
from road_seg_ros.benchmark.tables import percentiles
from road_seg_ros.benchmark.timing import Durations, interleave, timed
from road_seg_ros.checkpoint import InputSize, ModelInfo
from road_seg_ros.engines.devices import pick_device
from road_seg_ros.fcn8 import FCN8
from road_seg_ros.pixels import resize, threshold_mask
from training import command, onnx_file, roofline
from training.backbone import IMAGENET
from training.exportable import make_exportable

TORCHVISION = ('fcn_resnet50', 'deeplabv3_mobilenet_v3_large', 'lraspp_mobilenet_v3_large')
LAYOUT = 'uint8_nhwc_bgr'  # of the export

Mask = Callable[[np.ndarray], np.ndarray]  # uint8 (H, W, 3) BGR -> uint8 (H, W), 0 or 255
Probability = Callable[[np.ndarray], np.ndarray]  # uint8 (h, w, 3) BGR -> float32 (h, w)


@dataclass(frozen=True)
class Candidate:
    """A way from image to mask. network: what it runs, to be counted."""

    name: str
    mask: Mask
    network: nn.Module


@dataclass(frozen=True)
class Row:
    """What a candidate took. flop: of its network for one image; step: whether it is of ours."""

    name: str
    step: bool
    parameters: int
    flop: int
    durations: Durations


class Plain(nn.Module):
    """A network of torchvision that answers with its scores alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """images: float (N, 3, H, W), normalised -> scores, float (N, classes, H, W)."""
        return self.network(images)['out']


def naive(network: FCN8, info: ModelInfo, device: torch.device) -> Mask:
    """Run the network eagerly in float32, with numpy before it and behind it."""
    network = _on(network, device, torch.float32, torch.contiguous_format)
    norm = info.normalization
    order = slice(None, None, -1 if norm.channel_order == 'RGB' else 1)

    def mask(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        pixels = image[..., order].astype(np.float32) * norm.scale
        pixels = (pixels - np.float32(norm.mean)) / np.float32(norm.std)
        pixels = _bilinear(pixels, info.input.fit(height, width))
        batch = torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy()).to(device)
        with torch.inference_mode():
            scores = network(batch)[0].cpu().numpy() / info.temperature
        powers = np.exp(scores - scores.max(axis=0))
        probability = (powers / powers.sum(axis=0))[1]
        road = _bilinear(probability, (height, width)) >= info.threshold
        return np.where(road, 255, 0).astype(np.uint8)

    return mask


def eager(
    network: nn.Module,
    info: ModelInfo,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Mask:
    """Run a network eagerly, with OpenCV before it and behind it."""
    network = _on(network, device, dtype, memory_format)
    gain, offset = (torch.from_numpy(a).to(device) for a in info.normalization.gain_and_offset())
    to_rgb = info.normalization.channel_order == 'RGB'

    def probability(pixels: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            batch = torch.from_numpy(pixels).to(device).permute(2, 0, 1)[None]
            batch = batch.flip(1) if to_rgb else batch
            batch = (
                (batch.float() * gain + offset).to(dtype).contiguous(memory_format=memory_format)
            )
            scores = network(batch).float()
            log_odds = (scores[:, 1] - scores[:, 0]) / info.temperature
            return torch.sigmoid(log_odds)[0].cpu().numpy()

    return _with_opencv(probability, info)


def onnx_runtime(network: FCN8, info: ModelInfo, folder: Path) -> Mask:
    """Export the network and run the file with ONNX Runtime, on the CPU."""
    path = folder / 'road.onnx'
    exportable = make_exportable(network, info, LAYOUT, None)
    onnx_file.save(onnx_file.convert(exportable), path, {})
    run = onnx_file.load(path)
    return _with_opencv(lambda pixels: run(pixels[None])[0], info)


def candidates(
    model: Model, device: torch.device, folder: Path
) -> tuple[list[Candidate], list[Candidate], dict[str, str]]:
    """
    Return the steps to what ships, what one would use instead, and why others are missing.

    folder: where the export goes. CheckpointError if the model file cannot be used.
    """
    network, info = checkpoint.load(model.path)
    if model.size is not None:
        info = dataclasses.replace(info, input=InputSize(*model.size, keep_aspect_ratio=False))
    half = torch.bfloat16 if device.type == 'cpu' else torch.float16
    half_name = {torch.bfloat16: 'bf16', torch.float16: 'fp16'}[half]
    last = torch.channels_last
    steps = [
        Candidate('eager fp32, numpy round it', naive(network, info, device), network),
        Candidate('OpenCV round it', eager(network, info, device), network),
        Candidate('channels_last', eager(network, info, device, memory_format=last), network),
        Candidate(half_name, eager(network, info, device, half, last), network),
    ]
    engines = [Choice('openvino', 'bf16'), Choice('openvino', 'int8')]
    if device.type == 'cuda':
        engines = [Choice('torch', 'fp16')]
    segmenters, missing = samples.open_segmenters(model, engines)
    for name, segmenter in segmenters.items():
        steps.append(
            Candidate(
                f'RoadSegmenter, {name}',
                lambda image, s=segmenter: s.submit(image, confidence=False)().mask,
                network,
            )
        )
    others = []
    if device.type == 'cpu':
        own = 'ONNX Runtime fp32, our export'
        others.append(Candidate(own, onnx_runtime(network, info, folder), network))
    else:
        missing['ONNX Runtime'] = 'its package for the CPU has no place beside a GPU'
    theirs = dataclasses.replace(info, normalization=IMAGENET, temperature=1.0, threshold=0.5)
    for name in TORCHVISION:
        build = getattr(segmentation, name)
        other = Plain(build(weights=None, weights_backbone=None, num_classes=2))
        others += [
            Candidate(f'torchvision {name}, fp32', eager(other, theirs, device), other),
            Candidate(
                f'torchvision {name}, channels_last {half_name}',
                eager(other, theirs, device, half, last),
                other,
            ),
        ]
    return steps, others, missing


def compare(
    model: Model, images: list[np.ndarray], repeats: int
) -> tuple[list[Row], dict[str, str]]:
    """Time every candidate and return what it took, and why others are missing."""
    device = torch.device(pick_device(model.device))
    with tempfile.TemporaryDirectory() as folder:
        steps, others, missing = candidates(model, device, Path(folder))
        everyone = [*steps, *others]
        found = interleave(
            {candidate.name: timed('mask', candidate.mask) for candidate in everyone},
            images,
            repeats,
        )
    size = model.size or checkpoint.load_info(model.path).input.fit(*images[0].shape[:2])
    rows = []
    for candidate in everyone:
        work = roofline.count(candidate.network.float().cpu(), size, lambda _: 'all')['all']
        parameters = sum(parameter.numel() for parameter in candidate.network.parameters())
        rows.append(
            Row(
                candidate.name,
                candidate in steps,
                parameters,
                work.flop,
                found[candidate.name]['mask'],
            )
        )
    return rows, missing


def steps_table(rows: list[Row]) -> str:
    """Return a row for each step, and what it gains over the one before."""
    steps = [row for row in rows if row.step]
    medians = [row.durations.median for row in steps]
    return markdown.table(
        ('step', 'median, ms', 'p95', 'p99', 'x the step before', 'x the first'),
        [
            (
                row.name,
                *percentiles(row.durations),
                f'{before / own:.2f}',
                f'{medians[0] / own:.2f}',
            )
            for row, own, before in zip(steps, medians, [medians[0], *medians], strict=False)
        ],
    )


def others_table(rows: list[Row]) -> str:
    """Return a row for the last step and each of the others."""
    shipped = [row for row in rows if row.step][-1]
    return markdown.table(
        ('network', 'parameters, M', 'GFLOP', 'median, ms', 'p95', 'p99', 'x what ships'),
        [
            (
                row.name,
                f'{row.parameters / 1e6:.1f}',
                f'{row.flop / 1e9:.1f}',
                *percentiles(row.durations),
                f'{row.durations.median / shipped.durations.median:.2f}',
            )
            for row in rows
            if row is shipped or not row.step
        ],
    )


def _with_opencv(probability: Probability, info: ModelInfo) -> Mask:
    def mask(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        road = probability(resize(image, info.input.fit(height, width)))
        road = cv2.resize(road, (width, height), interpolation=cv2.INTER_LINEAR)
        return threshold_mask(cv2.convertScaleAbs(road, alpha=255.0), info.threshold)

    return mask


def _on(
    network: nn.Module, device: torch.device, dtype: torch.dtype, memory: torch.memory_format
) -> nn.Module:
    """Return a copy of a network, ready to run."""
    return copy.deepcopy(network).eval().to(device, dtype, memory_format=memory)


def _bilinear(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize float32 (H, W, ...) to (height, width, ...) with numpy alone."""
    corners = []
    for length, wanted in zip(values.shape, size, strict=False):
        place = np.clip((np.arange(wanted) + 0.5) * length / wanted - 0.5, 0, length - 1)
        first = np.minimum(place.astype(int), max(length - 2, 0))
        corners.append((first, np.minimum(first + 1, length - 1), np.float32(place - first)))
    (top, bottom, down), (left, right, across) = corners
    extra = (1,) * (values.ndim - 2)
    down, across = down.reshape(-1, 1, *extra), across.reshape(1, -1, *extra)
    rows = values[top] * (1 - down) + values[bottom] * down
    return rows[:, left] * (1 - across) + rows[:, right] * across


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, measure and report. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--frames', metavar='DIR', help='as for road_seg_benchmark')
    parser.add_argument('--model', default='', help='model file; default: the one that ships')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    parser.add_argument(
        '--size',
        type=height_by_width,
        help='HEIGHTxWIDTH that every network sees; default: as the model says',
    )
    parser.add_argument(
        '--repeats', type=whole_number(1), default=50, help='images for each, default 50'
    )
    parser.add_argument('--json', type=new_file, help='write the figures to this file')
    args = parser.parse_args(arguments)
    try:
        images = samples.load_images(args.frames)
        before = machine.load()
        rows, missing = compare(
            Model(args.model, args.device, args.size), images.images, args.repeats
        )
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    here = machine.this_machine()
    print(f'{here.describe()}\n- load: {before[0]:.2f} at the start\n')
    size = f', each seen at {args.size[0]}x{args.size[1]}' if args.size else ''
    print(f'{images.describe()}{size}\n\n{steps_table(rows)}\n')
    print(others_table(rows))
    for name, why in missing.items():
        print(f'\nNot here: {name}: {why}')
    if args.json:
        data = {
            'machine': dataclasses.asdict(here),
            'rows': [dataclasses.asdict(row) for row in rows],
            'missing': missing,
        }
        args.json.write_text(json.dumps(data, indent=1), encoding='utf-8')
    return 0


if __name__ == '__main__':
    command.run(main)
