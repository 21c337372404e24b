"""
The layers of the network, as numbers: what fcn8.py builds, and which weights that has.

Here and not there, because to read and check a model file must not take PyTorch, which needs
seconds to be imported and half a gigabyte of memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Channels of VGG-16's thirteen 3x3 convolutions, block by block; a 2x2 max pool ends each block.
VGG16_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
# Layers 6 and 7 as convolutions: (channels, kernel size of layer 6).
HEADS = {'fc4096': (4096, 7), 'fc1024': (1024, 3), 'none': None}
# The transposed convolutions: (kernel size, stride), coarsest first. Kernel 2s and padding s/2:
# exactly s times the size, nothing to crop.
UPSAMPLING = {'upsample7': (4, 2), 'upsample4': (4, 2), 'upsample3': (16, 8)}


@dataclass(frozen=True)
class Architecture:
    """
    Which FCN-8: `width` multiplies VGG's channels, `head` is one of HEADS, `classes` are scored.

    ValueError says which of them is out of range.
    """

    width: float = 1.0
    head: str = 'fc4096'
    classes: int = 2

    def __post_init__(self) -> None:
        if not 0.0 < self.width <= 4.0:
            raise ValueError(f'width must be above 0 and at most 4, got {self.width}')
        if self.head not in HEADS:
            raise ValueError(f'head must be one of {", ".join(HEADS)}, got {self.head!r}')
        if self.classes < 2:
            raise ValueError(f'classes must be at least 2, got {self.classes}')

    def blocks(self) -> list[list[int]]:
        """Return the channels of VGG's convolutions, block by block."""
        return [[self._scaled(channels) for channels in block] for block in VGG16_BLOCKS]

    def head_layers(self) -> list[tuple[int, int]]:
        """Return (channels, kernel size) of layers 6 and 7; nothing without a head."""
        if (layers := HEADS[self.head]) is None:
            return []
        channels, kernel = layers
        return [(self._scaled(channels), kernel), (self._scaled(channels), 1)]

    def head_channels(self) -> int:
        """Return the channels from which the coarsest score is taken."""
        layers = self.head_layers()
        return layers[-1][0] if layers else self.blocks()[-1][-1]

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every weight and bias, by its name in FCN8's state_dict."""
        shapes: dict[str, tuple[int, ...]] = {}

        def convolution(name: str, kernel: tuple[int, ...], channels: int) -> None:
            shapes[f'{name}.weight'] = kernel
            shapes[f'{name}.bias'] = (channels,)

        channels, index = 3, 0
        for block in self.blocks():
            for out in block:
                convolution(f'features.{index}', (out, channels, 3, 3), out)
                channels, index = out, index + 2  # a ReLU between two
            index += 1  # the max pool
        for index, (out, size) in enumerate(self.head_layers()):
            # ReLU and dropout follow each.
            convolution(f'head.{3 * index}', (out, channels, size, size), out)
            channels = out
        _, _, pool3, pool4, _ = (block[-1] for block in self.blocks())
        for name, inputs in (('score7', channels), ('score4', pool4), ('score3', pool3)):
            convolution(name, (self.classes, inputs, 1, 1), self.classes)
        for name, (size, _) in UPSAMPLING.items():
            convolution(name, (self.classes, self.classes, size, size), self.classes)
        return shapes

    def _scaled(self, channels: int) -> int:
        return max(1, round(channels * self.width))


def by_place(kernel: np.ndarray) -> np.ndarray:
    """
    Turn the last upsampling into a 3x3 convolution, for the score of road less that of the rest.

    kernel: (2, 2, 16, 16), of a transposed convolution with stride 8 and padding 4. Returns
    (64, 2, 3, 3), to be applied with padding 1: its channel 8 i + j is the pixel (i, j) of each
    8x8.
    """
    size, stride = UPSAMPLING['upsample3']
    padding = (3 * stride - size) // 2
    difference = kernel[:, 1] - kernel[:, 0]  # (2, 16, 16)
    # What one score adds to its own 8x8 pixels and to the eight round them, (2, 24, 24). Seen
    # from a pixel, the score above is the one whose kernel reaches down to it: hence backwards.
    reach = np.pad(difference, ((0, 0), (padding, padding), (padding, padding)))
    blocks = reach.reshape(2, 3, stride, 3, stride)[:, ::-1, :, ::-1]
    return np.ascontiguousarray(blocks.transpose(2, 4, 0, 1, 3)).reshape(-1, 2, 3, 3)
