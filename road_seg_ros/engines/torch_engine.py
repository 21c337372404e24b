"""Run the network with PyTorch, on the CPU."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import nn

from road_seg_ros.checkpoint import ModelInfo
from road_seg_ros.engines import EngineError
from road_seg_ros.engines.on_cpu import CpuEngine
from road_seg_ros.engines.processor import available_cores
from road_seg_ros.fcn8 import FCN8

DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16}


class RoadProbability(nn.Module):
    """The network with its normalisation before and its road probability behind."""

    def __init__(self, network: FCN8, info: ModelInfo) -> None:
        super().__init__()
        self.network = network
        gain, offset = map(torch.from_numpy, info.normalization.gain_and_offset())
        self.register_buffer('gain', gain)
        self.register_buffer('offset', offset)
        self.bgr_to_rgb = info.normalization.channel_order == 'RGB'
        self.temperature = info.temperature

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """image: uint8 (N, H, W, 3) BGR -> road probability, float32 (N, H, W)."""
        return torch.sigmoid(self.log_odds_of_bgr(image))

    def log_odds_of_bgr(self, image: torch.Tensor) -> torch.Tensor:
        """image: uint8 (N, H, W, 3) BGR -> log odds of road, float32 (N, H, W)."""
        image = image.permute(0, 3, 1, 2)
        return self.log_odds(image.flip(1) if self.bgr_to_rgb else image)

    def log_odds(self, image: torch.Tensor) -> torch.Tensor:
        """image: uint8 (N, 3, H, W), the model's channel order -> of road, float32 (N, H, W)."""
        # In float32: 255 - mean with three digits of bfloat16 would already lose a grey level.
        image = image.float() * self.gain + self.offset
        dtype = self.network.score7.weight.dtype
        image = image.to(dtype).contiguous(memory_format=torch.channels_last)
        logits = self.network(image).float()
        return (logits[:, 1] - logits[:, 0]) / self.temperature


class TorchEngine(CpuEngine):
    """PyTorch on the CPU. precision: fp32 or bf16. See `Engine`."""

    name = 'torch'

    def __init__(self, network: FCN8, info: ModelInfo, precision: str) -> None:
        if precision == 'fp16':
            raise EngineError('precision fp16 needs a CUDA device; on the CPU use fp32 or bf16')
        if precision not in DTYPES:
            raise EngineError(f'engine torch runs fp32 and bf16 on the CPU, not {precision}')
        super().__init__(info.input, precision)
        torch.set_num_threads(available_cores())
        model = RoadProbability(network.to(DTYPES[precision]), info).eval()
        self._model = model.to(memory_format=torch.channels_last).log_odds_of_bgr

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) BGR -> round(255 x road probability), uint8 (H, W)."""
        with torch.inference_mode():
            pixels = torch.from_numpy(np.require(pixels, requirements=('C', 'W')))[None]
            log_odds = self._model(pixels)[0]
            self.require_finite(log_odds.numpy())  # here: an infinite one would be a probability
            probability = torch.sigmoid(log_odds)
        return cv2.convertScaleAbs(probability.numpy(), alpha=255.0)  # rounds

    def close(self) -> None:
        """Free the memory of the network."""
        self._model = None
