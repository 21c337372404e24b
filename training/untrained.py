"""
Write a model file with random weights, which takes the time and memory of a trained one.

    python -m training.untrained --width 1.0 --head fc1024 --out full.safetensors

Its masks mean nothing. The file for int8 is written beside it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import nn

from road_seg_ros import checkpoint
from road_seg_ros.architecture import HEADS
from road_seg_ros.arguments import new_file
from road_seg_ros.checkpoint import ModelInfo
from road_seg_ros.engines import quantization
from road_seg_ros.engines.quantization import Quantization
from road_seg_ros.fcn8 import FCN8
from training import command

SEED = 0
PICTURE = (1, 3, 64, 96)


def write(path: Path, width: float, head: str) -> None:
    """Write the model file and its NAME.int8.safetensors. ValueError if there is no such FCN8."""
    torch.manual_seed(SEED)
    network = FCN8(width, head)
    info = ModelInfo({}, data='none: the weights are random', data_license='none')
    checkpoint.save(path, network, info)
    scores = dict.fromkeys(('max_f', 'max_f_int8', 'iou', 'iou_int8', 'mask_iou'), 0.0)
    digest = checkpoint.read(path).digest()
    found = Quantization(input_ranges(network), digest, metrics=scores)
    quantization.save(quantization.path_for(path), found)


def input_ranges(network: FCN8) -> dict[str, tuple[float, float]]:
    """Return the (lowest, highest) input that the convolutions have for noise, but the first."""
    ranges: dict[str, tuple[float, float]] = {}

    def hook(name: str) -> object:
        def note(_: nn.Module, inputs: tuple[torch.Tensor]) -> None:
            ranges[name] = (0.0, float(inputs[0].max()) or 1.0)  # behind a ReLU

        return note

    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d) and name not in ('features.0', 'score3', 'score4'):
            layer.register_forward_pre_hook(hook(name))
    with torch.inference_mode():
        network.eval()(100 * torch.randn(PICTURE))
    return ranges


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and write the files. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--width', type=float, default=1.0, help='of the network, default 1.0')
    parser.add_argument('--head', choices=HEADS, default='fc1024', help='default fc1024')
    parser.add_argument('--out', type=new_file, required=True, help='.safetensors file to write')
    args = parser.parse_args(arguments)
    try:
        if args.out.suffix != '.safetensors':
            raise ValueError(f'--out must end in .safetensors, got {args.out}')
        write(args.out, args.width, args.head)
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(f'wrote {args.out} and {quantization.path_for(args.out)}')
    return 0


if __name__ == '__main__':
    command.run(main)
