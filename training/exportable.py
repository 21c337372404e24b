"""What an exported file holds: the network from camera pixels to road probability."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from road_seg_ros.checkpoint import ModelInfo
from road_seg_ros.engines.torch_engine import RoadProbability
from road_seg_ros.fcn8 import FCN8

INPUT, OUTPUT = 'image', 'road_probability'
LAYOUTS = {
    'uint8_nhwc_bgr': 'uint8 (N, H, W, 3), blue green red',
    'float_nchw_rgb': 'float32 (N, 3, H, W), red green blue, 0..255',
}


class ExportError(ValueError):
    """An export that cannot be made; says why and what to do."""


@dataclass(frozen=True)
class Exportable:
    """
    The network with its normalisation before and its sigmoid behind, and what it takes.

    module: takes an image in `layout` (a key of LAYOUTS), returns float32 (N, H, W) in 0..1.
    size: the one (height, width) that it is exported for; None for any.
    """

    module: nn.Module
    layout: str
    size: tuple[int, int] | None

    @property
    def shape(self) -> list[int]:
        """The shape of the input, with -1 where any length will do."""
        height, width = self.size or (-1, -1)
        return [-1, 3, height, width] if _is_float(self.layout) else [-1, height, width, 3]

    def example(self) -> torch.Tensor:
        """Return an input to trace the module with; its sizes are arbitrary, and none is 1."""
        height, width = self.size or (70, 100)
        return torch.from_numpy(arrange(np.zeros((2, height, width, 3), np.uint8), self.layout))


def make_exportable(
    network: FCN8, info: ModelInfo, layout: str, size: tuple[int, int] | None
) -> Exportable:
    """Wrap a network. layout: a key of LAYOUTS; size: (height, width), or None for any."""
    module: nn.Module = RoadProbability(network.float(), info)
    if _is_float(layout):
        module = _FromFloatRgb(module)
    return Exportable(module.eval(), layout, size)


def arrange(images: np.ndarray, layout: str) -> np.ndarray:
    """Turn uint8 (N, H, W, 3) BGR into what a file of this layout takes."""
    if not _is_float(layout):
        return np.ascontiguousarray(images)
    return np.ascontiguousarray(images[..., ::-1].transpose(0, 3, 1, 2), np.float32)


def metadata(info: ModelInfo, layout: str, model: str, precision: str) -> dict[str, str]:
    """
    Return what the user of a file must know to run it, and where it comes from.

    model: name of the model file; precision: of the weights and, for int8, of the arithmetic.
    """
    return {
        'model': model,
        'architecture': json.dumps(dict(info.architecture)),
        'precision': precision,
        'input_layout': layout,
        'input_description': LAYOUTS[layout],
        'input_height': str(info.input.height),
        'input_width': str(info.input.width),
        'keep_aspect_ratio': json.dumps(info.input.keep_aspect_ratio),
        'input_resize': (
            'to about input_height x input_width pixels in its own aspect ratio, sides multiples '
            'of 32'
            if info.input.keep_aspect_ratio
            else 'to input_height x input_width'
        )
        + '; area-averaged when it shrinks, else bilinear',
        'normalization': json.dumps(dataclasses.asdict(info.normalization)),
        'normalization_is_inside': 'true',
        'output_description': 'road probability, float32 (N, H, W), 0..1',
        'threshold': repr(info.threshold),
        'data': info.data,
        'data_license': info.data_license,
        'created': info.created,
        'code_version': info.code_version,
    }


class _FromFloatRgb(nn.Module):
    """Takes the layout float_nchw_rgb for a module that takes BGR pixels, channels last."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.module(image.flip(1).permute(0, 2, 3, 1))


def _is_float(layout: str) -> bool:
    return layout == 'float_nchw_rgb'
