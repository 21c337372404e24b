"""Which of this machine's devices is meant."""

from __future__ import annotations

import torch

from road_seg_ros.engines import EngineError


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
