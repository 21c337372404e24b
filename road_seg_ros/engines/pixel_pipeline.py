"""
From the bytes of a camera image to those of its mask, as tensor operations alone.

The same on every device, so that what a GPU does can be checked on a CPU. Everything writes to
tensors that exist before, and nothing waits for a value: a CUDA graph can be made of it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from road_seg_ros.architecture import by_place
from road_seg_ros.checkpoint import ModelInfo
from road_seg_ros.engines.frame_buffers import Inputs, Layout, Outputs
from road_seg_ros.engines.resampling import Resize, resizer
from road_seg_ros.fcn8 import FCN8, STRIDE

# VGG-16's activations reach 24,000 on images of 0..255, and float16 ends at 65,504. Everything up
# to the scores scales with the image and the biases, so a power of two there loses no digit.
HEADROOM = 16


@dataclass
class Work:
    """All that is kept for one layout: see `Layout` and `PixelPipeline`."""

    inputs: Inputs
    outputs: Outputs
    resize: Resize  # the frame to the network's size
    padded: torch.Tensor  # (1, 3, h + 2, w + 2) or larger, channels_last: the network's input
    pixels: torch.Tensor  # (3, h, w), the part of it that the image fills
    log_odds: torch.Tensor | None = None  # float32 (h, w)


class PixelPipeline:
    """
    Resize, network, upsampling, threshold and overlay of one model on one device.

    dtype: of VGG's layers; the scores behind them are always float32.
    """

    def __init__(
        self, network: FCN8, info: ModelInfo, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._size = info.input
        self._device = device
        self._dtype = dtype
        # float16 holds fractions of 0..255; bfloat16 only whole numbers.
        self._area_dtype = torch.float32 if dtype == torch.float32 else torch.float16
        network, center, border = fold(network, info)
        for part in (network.features, network.head):
            part.to(dtype)
        self._network = network.to(device, memory_format=torch.channels_last)
        self._center = center.to(device)
        self._border = border.to(device)

    def prepare(self, layout: Layout, inputs: Inputs, outputs: Outputs) -> Work:
        """Allocate what `stages` needs beside the views of its input and output."""
        height, width = self._size.fit(*layout.size)
        padded = torch.empty(
            (1, 3, height + -height % STRIDE + 2, width + -width % STRIDE + 2),
            dtype=self._dtype,
            device=self._device,
            memory_format=torch.channels_last,
        )
        padded.copy_(self._border)
        pixels = padded[0, :, 1 : height + 1, 1 : width + 1]
        resize = resizer(layout.size, (height, width), self._device, self._area_dtype)
        return Work(inputs, outputs, resize, padded, pixels)

    def stages(self, work: Work) -> dict[str, Callable[[], None]]:
        """Return what is to be done, in order, each part as a call without arguments."""
        stages = {
            'resize': lambda: self._resize(work),
            'network': lambda: self._run_network(work),
            'upsample_and_threshold': lambda: self._upsample_and_threshold(work),
        }
        if work.outputs.overlay is not None:
            stages['overlay'] = lambda: self._draw_overlay(work)
        return stages

    def _resize(self, work: Work) -> None:
        """Fill the network's input with grey levels less their mean."""
        torch.sub(work.resize(work.inputs.frame), self._center, out=work.pixels)

    def _run_network(self, work: Work) -> None:
        height, width = work.pixels.shape[1:]
        cudnn = torch.backends.cudnn
        # float32 is to be just that; TF32, which is the default, has three digits. Deterministic
        # until cuDNN is to try its ways: PyTorch remembers one way for each convolution, and
        # would take that of the first image, untried, if it did not tell them apart by this.
        tuning = cudnn.benchmark
        with cudnn.flags(
            enabled=True, benchmark=tuning, deterministic=not tuning, allow_tf32=False
        ):
            scores = self._network.scores(work.padded)
        work.log_odds = scores[0, 0, :height, :width]
        work.outputs.peak.copy_(work.log_odds.abs().amax())  # keeps what is not a number

    def _upsample_and_threshold(self, work: Work) -> None:
        outputs = work.outputs
        probability = road_probability(work.log_odds, outputs.mask.shape)
        confidence = probability.mul_(255).round_()
        if outputs.confidence is not None:
            outputs.confidence.copy_(confidence)
        torch.ge(confidence, work.inputs.controls[0], out=outputs.mask)
        outputs.mask.mul_(255)

    def _draw_overlay(self, work: Work) -> None:
        """Do as `draw_overlay` does, its two roundings included."""
        inputs, outputs = work.inputs, work.outputs
        tinted = (inputs.frame * inputs.controls[1]).round_()
        tinted = tinted.add_(inputs.controls[2:]).clamp_(max=255).to(torch.uint8)
        is_road = outputs.mask[..., None].bool()
        torch.where(is_road, tinted, inputs.frame, out=outputs.overlay)


def road_probability(log_odds: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """
    Return the road probability at the image's size: the sigmoid, then bilinear interpolation.

    The CPU engines do the same, but round to 8 bits in between: one level of 255 at most.
    log_odds: float32 (h, w); size: (H, W). Returns a new float32 (H, W), 0..1.
    """
    probability = torch.sigmoid(log_odds)
    if probability.shape == size:
        return probability
    return functional.interpolate(probability[None, None], tuple(size), mode='bilinear')[0, 0]


def fold(network: FCN8, info: ModelInfo) -> tuple[FCN8, torch.Tensor, torch.Tensor]:
    """
    Return a copy of the network that takes grey levels, and what to subtract from them.

    The copy's `scores` takes (1, 3, h + 2, w + 2) BGR: grey levels less `center`, float32
    (3, 1, 1) of whole numbers, so that even bfloat16 holds them exactly; round them a margin of
    `border`, float32 (3, 1, 1), which is what zero is after normalisation. It gives
    (1, 1, h, w): the log-odds of road, divided by the temperature.
    """
    network = copy.deepcopy(network).float().eval().requires_grad_(False)
    gain, offset = map(torch.from_numpy, info.normalization.gain_and_offset())
    first = network.features[0]
    weight = first.weight
    if info.normalization.channel_order == 'RGB':
        weight, gain, offset = weight.flip(1), gain.flip(0), offset.flip(0)
    mean = -offset / gain
    center = mean.round()
    border = mean - center
    # As large as with VGG's original weights, whose gain is 1, divided by HEADROOM.
    scale = 2.0 ** -round(math.log2(HEADROOM * gain.mean().item()))

    weight = weight * (gain * scale)
    # As padding=1 would: what lies outside the image adds nothing.
    first.weight = nn.Parameter(weight, requires_grad=False)
    first.bias = nn.Parameter(first.bias * scale - (weight * border).sum((1, 2, 3)), False)
    first.padding = (0, 0)
    for layer in [*network.features[1:], *network.head.modules()]:
        if isinstance(layer, nn.Conv2d):
            layer.bias.mul_(scale)
    for layer in (network.score7, network.score4, network.score3):
        layer.weight.div_(scale)

    # One channel, and a plain convolution, which libraries compute better with so few channels.
    last = network.upsample3
    places = nn.Conv2d(len(last.weight), last.stride[0] ** 2, 3, padding=1).requires_grad_(False)
    places.weight.copy_(torch.from_numpy(by_place(last.weight.numpy())) / info.temperature)
    places.bias.fill_((last.bias[1] - last.bias[0]) / info.temperature)
    network.upsample3 = nn.Sequential(places, nn.PixelShuffle(last.stride[0]))
    return network, center, border
