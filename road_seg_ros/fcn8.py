"""
The network: FCN-8 on VGG-16, and nothing else.

Long, Shelhamer & Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015,
on the VGG-16 of Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition", 2014.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import nn
from torch.nn import functional

from road_seg_ros.architecture import UPSAMPLING, Architecture
from road_seg_ros.geometry import STRIDE


class FCN8(nn.Module):
    """
    FCN-8 on VGG-16.

    `width` multiplies every VGG channel count, layers 6 and 7 included. `head` is one of
    `fc4096` (7x7, 4096 channels: the original), `fc1024` (3x3, 1024 channels) and `none` (the
    coarsest score is taken from pool5). `classes` is the number of score channels.

    ValueError says which argument is out of range.
    """

    def __init__(
        self,
        width: float = 1.0,
        head: str = 'fc4096',
        classes: int = 2,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        architecture = Architecture(width, head, classes)
        self.architecture = dataclasses.asdict(architecture)  # the arguments that build it again

        blocks = architecture.blocks()
        self.features = _vgg16_features(blocks)  # torchvision's indices: features.0 .. features.30
        pool3, pool4, pool5 = blocks[2][-1], blocks[3][-1], blocks[4][-1]
        self.head = _head(pool5, architecture.head_layers(), dropout)
        layer7 = architecture.head_channels()

        self.score7 = nn.Conv2d(layer7, classes, 1)
        self.score4 = nn.Conv2d(pool4, classes, 1)
        self.score3 = nn.Conv2d(pool3, classes, 1)
        self.upsample7 = _upsampling(classes, *UPSAMPLING['upsample7'])
        self.upsample4 = _upsampling(classes, *UPSAMPLING['upsample4'])
        self.upsample3 = _upsampling(classes, *UPSAMPLING['upsample3'])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """
        Score every pixel.

        images: float (N, 3, H, W), normalised, any H and W of at least 1.
        Returns logits, float (N, classes, H, W).
        """
        height, width = images.shape[-2:]
        images = functional.pad(images, (0, -width % STRIDE, 0, -height % STRIDE))
        return self.scores(images)[..., :height, :width]

    def scores(self, images: torch.Tensor) -> torch.Tensor:
        """Do as `forward` does, for images whose height and width are multiples of 32."""
        pools = []
        features = images
        for layer in self.features:
            features = layer(features)
            if isinstance(layer, nn.MaxPool2d):
                pools.append(features)
        _, _, pool3, pool4, pool5 = pools  # strides 8, 16, 32

        layer7 = self.head(pool5)
        # Not under autocast: the few score channels cost nothing and decide the mask. And with
        # PyTorch 2.15 on a processor with AMX, the bfloat16 gradient of a 4096 to 2 channel
        # convolution writes beyond its memory.
        with torch.autocast(images.device.type, enabled=False):
            pool3, pool4, layer7 = (x.to(self.score7.weight.dtype) for x in (pool3, pool4, layer7))
            score = self.upsample7(self.score7(layer7))  # (N, classes, H/16, W/16)
            score = self.upsample4(score + self.score4(pool4))  # (N, classes, H/8, W/8)
            return self.upsample3(score + self.score3(pool3))  # (N, classes, H, W)


def start_bilinear(layer: nn.ConvTranspose2d) -> None:
    """
    Make a transposed convolution upsample each channel bilinearly, as FCN's layers start.

    Formula: Long et al.'s reference code, `upsample_filt`.
    """
    size = layer.kernel_size[0]
    factor = (size + 1) // 2
    center = factor - 1 if size % 2 else factor - 0.5
    ramp = 1 - (torch.arange(size) - center).abs() / factor
    with torch.no_grad():
        layer.weight.zero_()
        for channel in range(min(layer.in_channels, layer.out_channels)):
            layer.weight[channel, channel] = ramp[:, None] * ramp[None, :]
        layer.bias.zero_()


def _vgg16_features(blocks: list[list[int]]) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for block in blocks:
        for out_channels in block:
            layers += [nn.Conv2d(channels, out_channels, 3, padding=1), nn.ReLU(inplace=True)]
            channels = out_channels
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def _head(channels: int, layers: list[tuple[int, int]], dropout: float) -> nn.Sequential:
    head: list[nn.Module] = []
    for out_channels, kernel in layers:
        head += [
            nn.Conv2d(channels, out_channels, kernel, padding=kernel // 2),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
        ]
        channels = out_channels
    return nn.Sequential(*head)


def _upsampling(classes: int, kernel: int, stride: int) -> nn.ConvTranspose2d:
    layer = nn.ConvTranspose2d(classes, classes, kernel, stride, padding=stride // 2)
    start_bilinear(layer)
    return layer
