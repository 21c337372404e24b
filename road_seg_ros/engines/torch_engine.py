"""Run the network with PyTorch, on a CUDA device or the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from road_seg_ros.checkpoint import ModelInfo
from road_seg_ros.engines import EngineError
from road_seg_ros.fcn8 import FCN8

DTYPES = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}
# What Linux calls a processor's own bfloat16 arithmetic: x86 (AVX-512, AMX) and Arm.
BF16_CPU_FLAGS = {'avx512_bf16', 'amx_bf16', 'bf16'}


def pick_device(device: str) -> torch.device:
    """
    Turn auto, cpu, cuda or cuda:N into a device that exists.

    `auto` is the first CUDA device, else the CPU. EngineError if the device is not there.
    """
    cuda_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == 'auto':
        device = 'cuda' if cuda_devices else 'cpu'
    kind, _, index = device.partition(':')
    if kind not in ('cpu', 'cuda') or (index and not (kind == 'cuda' and index.isdecimal())):
        raise EngineError(f'device must be auto, cpu, cuda or cuda:N, got {device!r}')
    if kind == 'cpu':
        return torch.device('cpu')
    if not cuda_devices:
        raise EngineError(
            f'device {device!r} was asked for, but PyTorch {torch.__version__} finds no CUDA GPU '
            'here; check nvidia-smi and the driver, or set device to auto or cpu'
        )
    if int(index or 0) >= cuda_devices:
        raise EngineError(
            f'device {device!r} was asked for, but there are only {cuda_devices} CUDA GPUs, '
            f'cuda:0 to cuda:{cuda_devices - 1}'
        )
    return torch.device('cuda', int(index or 0))


class RoadProbability(nn.Module):
    """The network with its normalisation before and its road probability behind."""

    def __init__(self, network: FCN8, info: ModelInfo) -> None:
        super().__init__()
        self.network = network
        gain, offset = info.normalization.gain_and_offset()
        self.register_buffer('gain', gain)
        self.register_buffer('offset', offset)
        self.bgr_to_rgb = info.normalization.channel_order == 'RGB'
        self.temperature = info.temperature

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """image: uint8 (N, H, W, 3) BGR -> road probability, float32 (N, H, W)."""
        image = image.permute(0, 3, 1, 2)
        if self.bgr_to_rgb:
            image = image.flip(1)
        return torch.sigmoid(self.log_odds(image))

    def log_odds(self, image: torch.Tensor) -> torch.Tensor:
        """image: uint8 (N, 3, H, W), the model's channel order -> of road, float32 (N, H, W)."""
        # In float32: 255 - mean with three digits of bfloat16 would already lose a grey level.
        image = image.float() * self.gain + self.offset
        dtype = self.network.score7.weight.dtype
        image = image.to(dtype).contiguous(memory_format=torch.channels_last)
        logits = self.network(image).float()
        return (logits[:, 1] - logits[:, 0]) / self.temperature


class TorchEngine:
    """PyTorch on one device. See `Engine`."""

    name = 'torch'

    def __init__(
        self, network: FCN8, info: ModelInfo, device: torch.device, precision: str = 'auto'
    ) -> None:
        if precision == 'int8':
            raise EngineError('engine torch runs fp32, fp16 and bf16, not int8')
        if precision == 'auto':
            precision = _fastest_precision(device)
        if precision == 'fp16' and device.type == 'cpu':
            raise EngineError('precision fp16 needs a CUDA device; on the CPU use fp32 or bf16')
        self.device = str(device)
        self.precision = precision
        self._model = RoadProbability(network.to(DTYPES[precision]), info).eval()
        self._model.to(device).to(memory_format=torch.channels_last)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) BGR -> road probability, float32 (H, W)."""
        with torch.inference_mode():
            pixels = torch.from_numpy(np.require(image, requirements=('C', 'W')))[None].to(
                self.device
            )
            return self._model(pixels)[0].cpu().numpy()

    def close(self) -> None:
        """Free the memory of the network."""
        self._model = None
        if self.device.startswith('cuda'):
            torch.cuda.empty_cache()


def _fastest_precision(device: torch.device) -> str:
    if device.type == 'cuda':
        return 'fp16'
    return 'bf16' if BF16_CPU_FLAGS & _cpu_flags() else 'fp32'


def _cpu_flags() -> set[str]:
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='ascii', errors='replace').splitlines()
    except OSError:
        return set()
    for line in lines:
        name, _, value = line.partition(':')
        if name.strip() in ('flags', 'Features'):
            return set(value.split())
    return set()
