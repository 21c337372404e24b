"""The network as an OpenVINO model, made of its weights, in float or in int8."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from road_seg_ros.architecture import UPSAMPLING, by_place
from road_seg_ros.checkpoint import InputSize, ModelInfo
from road_seg_ros.engines.quantization import Quantization
from road_seg_ros.geometry import STRIDE

if TYPE_CHECKING:
    import openvino

LEVELS = 256  # of an 8-bit activation
LARGEST_WEIGHT = 127  # of an 8-bit weight; they are symmetric


def build(
    weights: Mapping[str, np.ndarray], info: ModelInfo, quantization: Quantization | None
) -> openvino.Model:
    """
    Return the model of an FCN8 with two classes.

    weights: float32, by the names of the network's state_dict. quantization: of its convolutions
    to int8; None for float.

    Its input is uint8 (1, H, W, 3) BGR, of the one size that info demands, or of any size with
    sides that are multiples of 32. Its outputs are round(255 x road probability), uint8
    (1, 1, H, W), and the scores before the last upsampling, float32 (1, 2, H / 8, W / 8): those
    are finite only if everything is, and have a 64th of its pixels.
    """
    return _Graph(weights, info, quantization).model()


class _Graph:
    """Builds the model, layer by layer."""

    def __init__(
        self,
        weights: Mapping[str, np.ndarray],
        info: ModelInfo,
        quantization: Quantization | None,
    ) -> None:
        from openvino import opset8

        self._ops = opset8
        self._weights, self._info, self._quantization = weights, info, quantization

    def model(self) -> openvino.Model:
        from openvino import Model

        ops, size = self._ops, self._info.input
        shape = [-1, -1] if size.keep_aspect_ratio else [size.height, size.width]
        image = ops.parameter([1, *shape, 3], np.uint8, 'image')
        layers = _convolutions(self._weights)
        pools = []
        x = ops.relu(self._first_convolution(image, layers[0]))
        for before, layer in pairwise(layers):
            x = self._quantized(x, layer)
            if _ends_block(before, layer):
                x = ops.max_pool(x, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2]).output(0)
                pools.append(x)
            x = self._convolution(x, layer)
            if layer != 'score7':
                x = ops.relu(x)
        _, _, pool3, pool4, _ = pools
        x = ops.add(self._upsampled(x, 'upsample7'), self._convolution(pool4, 'score4'))
        scores = ops.add(self._upsampled(x, 'upsample4'), self._convolution(pool3, 'score3'))
        probability = ops.sigmoid(self._log_odds_by_place(scores))
        levels = ops.round(ops.multiply(probability, np.float32(255)), 'half_to_even')
        _, stride = UPSAMPLING['upsample3']
        confidence = ops.depth_to_space(ops.convert(levels, 'u8'), 'blocks_first', stride)
        return Model([self._cut(confidence, size), ops.convert(scores, 'f32')], [image], 'FCN8')

    def _first_convolution(self, image: Any, layer: str) -> Any:
        """Take pixels; normalisation and colour order go into the weights."""
        ops = self._ops
        normalization = self._info.normalization
        gain, offset = normalization.gain_and_offset()  # (3, 1, 1)
        kernel, mean = self._weights[f'{layer}.weight'] * gain, -offset / gain
        if normalization.channel_order == 'RGB':
            kernel, mean = kernel[:, ::-1], mean[::-1]
        # Not the mean too: beyond the border is an image whose every pixel is the mean.
        x = ops.convert(ops.transpose(image, np.array([0, 3, 1, 2])), np.float32)
        x = ops.subtract(x, ops.constant(np.ascontiguousarray(mean[None], np.float32)))
        x = self._padded(x)
        if self._quantization is not None:
            furthest = max(mean.max(), 255 - mean.min(), 0.0)
            x = self._with_levels(x, -furthest * (LARGEST_WEIGHT + 1) / LARGEST_WEIGHT, furthest)
        return self._convolution(x, layer, np.ascontiguousarray(kernel))

    def _convolution(self, x: Any, layer: str, kernel: np.ndarray | None = None) -> Any:
        ops = self._ops
        kernel = self._weights[f'{layer}.weight'] if kernel is None else kernel
        pad = [kernel.shape[-1] // 2] * 2
        x = ops.convolution(x, self._rounded(kernel), [1, 1], pad, pad, [1, 1])
        return ops.add(x, ops.constant(self._weights[f'{layer}.bias'][:, None, None]))

    def _rounded(self, kernel: np.ndarray) -> Any:
        """Round each output channel to 8 bits, if that is wanted."""
        ops = self._ops
        if self._quantization is None:
            return ops.constant(kernel)
        step = np.abs(kernel).max((1, 2, 3), keepdims=True) / LARGEST_WEIGHT
        step = np.maximum(step, np.finfo(np.float32).tiny)
        integers = ops.constant(np.rint(kernel / step).astype(np.int8))
        return ops.multiply(ops.convert(integers, np.float32), ops.constant(step))

    def _quantized(self, x: Any, layer: str) -> Any:
        """Round the input of a layer to 8 bits, if that is wanted."""
        if self._quantization is None:
            return x
        return self._with_levels(x, *self._quantization.ranges[layer])

    def _with_levels(self, x: Any, low: float, high: float) -> Any:
        range_ = [self._ops.constant(np.float32(end)) for end in (low, high, low, high)]
        return self._ops.fake_quantize(x, *range_, LEVELS)

    def _upsampled(self, x: Any, layer: str) -> Any:
        ops = self._ops
        x = ops.convolution_backprop_data(
            x,
            ops.constant(self._weights[f'{layer}.weight']),
            strides=[2, 2],
            pads_begin=[1, 1],
            pads_end=[1, 1],
            dilations=[1, 1],
        )
        return ops.add(x, ops.constant(self._weights[f'{layer}.bias'][:, None, None]))

    def _log_odds_by_place(self, scores: Any) -> Any:
        """
        Return the log odds of road as (1, 64, H / 8, W / 8): each place in 8x8 is a channel.

        A transposed convolution of kernel 16 and stride 8 is a 3x3 convolution for each place. It
        takes a third of the time, and sigmoid and rounding see no more values than needed.
        """
        ops = self._ops
        kernel = by_place(self._weights['upsample3.weight'])  # (64, 2, 3, 3)
        bias = self._weights['upsample3.bias']
        temperature = self._info.temperature
        x = ops.convolution(
            scores, ops.constant(kernel / np.float32(temperature)), [1, 1], [1, 1], [1, 1], [1, 1]
        )
        return ops.add(x, ops.constant(np.float32((bias[1] - bias[0]) / temperature)))

    def _padded(self, x: Any) -> Any:
        """Make the sides of a fixed size multiples of the network's stride."""
        size = self._info.input
        missing = [-size.height % STRIDE, -size.width % STRIDE]
        if size.keep_aspect_ratio or not any(missing):
            return x
        pads = np.array([0, 0, 0, 0]), np.array([0, 0, *missing])
        return self._ops.pad(x, *pads, 'constant', np.float32(0))

    def _cut(self, confidence: Any, size: InputSize) -> Any:
        """Undo `_padded`."""
        if size.keep_aspect_ratio:
            return confidence
        ends = np.array([size.height, size.width])
        start, step, axes = np.array([0, 0]), np.array([1, 1]), np.array([2, 3])
        return self._ops.slice(confidence, start, ends, step, axes)


def _convolutions(weights: Mapping[str, np.ndarray]) -> list[str]:
    """Return the convolutions from the image to the coarsest score, in order."""
    names = [name.removesuffix('.weight') for name in weights if name.endswith('.weight')]
    features = [name for name in names if name.startswith('features.')]
    head = [name for name in names if name.startswith('head.')]
    return [*sorted(features, key=_index), *sorted(head, key=_index), 'score7']


def _ends_block(layer: str, following: str) -> bool:
    """Whether a max pool lies between two layers, beside the first one's ReLU."""
    if not layer.startswith('features.'):
        return False
    return not following.startswith('features.') or _index(following) - _index(layer) == 3


def _index(layer: str) -> int:
    return int(layer.split('.')[1])
