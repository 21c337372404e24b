"""
The least time that this machine could take for the network, from its arithmetic and its bytes.

    python -m training.roofline                    the model that ships, at its own size
    python -m training.roofline --size 160x576 --width 1.0 --head fc1024

Counts floating-point operations and bytes of each part of the network, measures the machine's peak
(the best of a matrix product and of convolutions, and a sum of vectors for the memory), and
prints Markdown. A part cannot take less than its arithmetic at peak or its bytes at peak,
whichever is more; the sum of these is the floor.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from road_seg_ros import checkpoint, markdown
from road_seg_ros.architecture import HEADS
from road_seg_ros.arguments import height_by_width, new_file
from road_seg_ros.benchmark import machine
from road_seg_ros.fcn8 import FCN8
from training import command

BYTES = {'fp32': 4, 'fp16': 2, 'bf16': 2, 'int8': 1}
DTYPES = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}
REPEATS, WARM_UP = 15, 3
CHAIN = 12  # convolutions
MATRIX = {'cpu': 2048, 'cuda': 8192}  # rows and columns
VECTOR = {'cpu': 2**26, 'cuda': 2**28}  # floats: far more than any cache holds
CONVOLUTION = {'cpu': (1, 256, 56, 192), 'cuda': (16, 512, 56, 192)}  # like the network's own


@dataclass
class Work:
    """
    What a part of a network does for one image.

    flop: a multiplication and an addition are two; weights: of the part; activations: values read
    and written, every layer's input and output, as if nothing stayed in a cache.
    """

    flop: int = 0
    weights: int = 0
    activations: int = 0

    def bytes(self, precision: str) -> int:
        """Return what has to be moved in a precision."""
        return (self.weights + self.activations) * BYTES[precision]


@dataclass(frozen=True)
class Peak:
    """What a machine can do: FLOP/s by precision, and bytes/s of its memory."""

    flops: dict[str, float]
    bandwidth: float

    def floor_ms(self, work: Work, precision: str) -> float:
        """Return the least time that the work can take."""
        return 1e3 * max(work.flop / self.flops[precision], work.bytes(precision) / self.bandwidth)


def count(
    network: nn.Module, size: tuple[int, int], part_of: Callable[[str], str]
) -> dict[str, Work]:
    """
    Count the work of a network's convolutions and poolings for one image, by part.

    network: float32, on the CPU; it is run once. size: (height, width). part_of: gives the part's
    name for a module's. What stands outside of modules, such as a resize, is not counted, and an
    activation function costs nothing, because every engine makes it part of its convolution.
    """
    parts: dict[str, Work] = {}

    def hook(name: str) -> Callable[[nn.Module, tuple, torch.Tensor], None]:
        def add(layer: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
            work = parts.setdefault(part_of(name), Work())
            work.activations += inputs[0].numel() + output.numel()
            work.weights += sum(parameter.numel() for parameter in layer.parameters())
            if isinstance(layer, nn.Conv2d):
                work.flop += 2 * output.numel() * layer.weight[0].numel()
            elif isinstance(layer, nn.ConvTranspose2d):
                work.flop += 2 * inputs[0].numel() * layer.weight[0].numel()

        return add

    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d)
    hooks = [
        module.register_forward_hook(hook(name))
        for name, module in network.named_modules()
        if isinstance(module, kinds)
    ]
    with torch.inference_mode():
        network.eval()(torch.zeros((1, 3, *size)))
    for handle in hooks:
        handle.remove()
    return parts


def part_of_fcn8(network: FCN8) -> Callable[[str], str]:
    """Return what names the part of FCN-8 that a module belongs to."""
    blocks, block = {}, 1
    for index, layer in enumerate(network.features):
        blocks[f'features.{index}'] = f'block {block}'
        block += isinstance(layer, nn.MaxPool2d)

    def part_of(name: str) -> str:
        if name.startswith('head.'):
            return 'layers 6 and 7'
        return blocks.get(name, 'scores and upsampling')

    return part_of


def measure_peak(device: torch.device) -> Peak:
    """Measure what a device can do, in every precision that it has at all."""
    size = MATRIX[device.type]
    flops: dict[str, float] = {}
    for name, dtype in DTYPES.items():
        if device.type == 'cpu' and name == 'fp16':
            continue  # emulated on almost all of them
        a, b = (torch.rand((size, size), device=device).to(dtype) for _ in range(2))
        product = 2 * size**3 / _best_s(lambda a=a, b=b: a @ b, device)
        flops[name] = max(product, _convolution_flops(device, dtype))
    a, b = (torch.randint(-128, 127, (size, size), device=device).to(torch.int8) for _ in 'ab')
    # Row by column: the one layout in which cuBLAS promises int8.
    flops['int8'] = 2 * size**3 / _best_s(lambda: torch._int_mm(a, b.t()), device)
    if device.type == 'cpu' and importlib.util.find_spec('openvino'):
        flops['int8'] = max(flops['int8'], _openvino_int8_flops())
    x, y = (torch.rand(VECTOR[device.type], device=device) for _ in range(2))
    total = torch.empty_like(x)
    moved = 3 * x.numel() * x.element_size()
    return Peak(flops, moved / _best_s(lambda: torch.add(x, y, out=total), device))


def _convolution_flops(device: torch.device, dtype: torch.dtype) -> float:
    images, channels, height, width = CONVOLUTION[device.type]
    layer = nn.Conv2d(channels, channels, 3, padding=1, device=device, dtype=dtype)
    pixels = torch.rand(CONVOLUTION[device.type], device=device).to(dtype)
    layer, pixels = (t.to(memory_format=torch.channels_last) for t in (layer, pixels))
    flop = 2 * 9 * channels**2 * images * height * width
    # As the engine runs it: float32 is to be just that.
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
        return flop / _best_s(lambda: layer(pixels), device)


def _openvino_int8_flops() -> float:
    """Return what a chain of int8 convolutions reaches; its ends, in float, hardly count."""
    from openvino import Model, opset13

    from road_seg_ros.engines.openvino_engine import core

    def rounded(values: Any, low: float, high: float, levels: int) -> Any:
        limits = [np.float32(limit) for limit in (low, high)]
        return opset13.fake_quantize(values, *limits, *limits, levels)

    _, channels, height, width = CONVOLUTION['cpu']
    rng = np.random.default_rng(0)
    pixels = x = opset13.parameter(CONVOLUTION['cpu'], np.float32)
    for _ in range(CHAIN):
        weights = rng.normal(0, 0.02, (channels, channels, 3, 3)).astype(np.float32)
        weights = rounded(opset13.constant(weights), -0.1, 0.1, 255)
        ones = [1, 1]
        x = opset13.convolution(rounded(x, 0.0, 4.0, 256), weights, ones, ones, ones, ones)
        x = opset13.relu(x)
    compiled = core().compile_model(Model([x], [pixels]), 'CPU', {'PERFORMANCE_HINT': 'LATENCY'})
    request = compiled.create_infer_request()
    values = np.abs(rng.normal(0, 1, CONVOLUTION['cpu'])).astype(np.float32)
    flop = CHAIN * 2 * 9 * channels**2 * height * width
    return flop / _best_s(lambda: request.infer([values]), torch.device('cpu'))


def _best_s(call: Callable[[], object], device: torch.device) -> float:
    """Return the least time of a call: what disturbs it is not the machine's peak."""
    best = float('inf')
    with torch.inference_mode():
        for index in range(WARM_UP + REPEATS):
            start = time.perf_counter()
            call()
            if device.type == 'cuda':
                torch.cuda.synchronize(device)
            if index >= WARM_UP:
                best = min(best, time.perf_counter() - start)
    return best


def floor_table(parts: dict[str, Work], peak: Peak) -> str:
    """Return a row for each part, and one for all of them."""
    precisions = list(peak.flops)
    figures = np.array(
        [
            [
                *(work.flop / 1e9, work.weights / 1e6, work.activations / 1e6),
                *(peak.floor_ms(work, precision) for precision in precisions),
            ]
            for work in parts.values()
        ]
    )
    figures = np.vstack([figures, figures.sum(axis=0)])
    rows = [
        [name, *(f'{value:.2f}' for value in row)]
        for name, row in zip([*parts, 'together'], figures, strict=True)
    ]
    heads = ['part', 'GFLOP', 'weights, M', 'activations in and out, M']
    return markdown.table([*heads, *(f'floor {p}, ms' for p in precisions)], rows)


def peak_table(peak: Peak) -> str:
    """Return the machine's peaks."""
    rows = [[name, f'{flops / 1e9:,.0f} GFLOP/s'] for name, flops in peak.flops.items()]
    return markdown.table(
        ['peak', 'measured'], [*rows, ['memory', f'{peak.bandwidth / 1e9:,.0f} GB/s']]
    )


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, count, measure and report. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', default='', help='model file; default: the one that ships')
    parser.add_argument(
        '--size',
        type=height_by_width,
        help="HEIGHTxWIDTH of the network; default: the model's own",
    )
    parser.add_argument('--width', type=float, help="of the network; default: the model's own")
    parser.add_argument('--head', choices=HEADS, help="of the network; default: the model's own")
    parser.add_argument('--json', type=new_file, help='write the figures to this file')
    args = parser.parse_args(arguments)
    try:
        info = checkpoint.load_info(args.model)
        size = args.size or (info.input.height, info.input.width)
        given = {'width': args.width, 'head': args.head}
        given = {name: value for name, value in given.items() if value is not None}
        network = FCN8(**{**info.architecture, **given})
    except ValueError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    parts = count(network, size, part_of_fcn8(network))
    peak = measure_peak(device)
    print(f'{machine.this_machine().describe()}\n\n{peak_table(peak)}\n')
    described = 'width {width} head {head}'.format(**network.architecture)
    print(f'FCN-8 {described} at {size[0]}x{size[1]}\n')
    print(floor_table(parts, peak))
    if args.json:
        data = {'parts': {n: vars(w) for n, w in parts.items()}, 'peak': vars(peak)}
        args.json.write_text(json.dumps(data, indent=1), encoding='utf-8')
    return 0


if __name__ == '__main__':
    command.run(main)
