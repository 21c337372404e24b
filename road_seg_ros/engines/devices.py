"""Which of this machine's devices is meant."""

from __future__ import annotations

import ctypes
from pathlib import Path

from road_seg_ros.engines import EngineError

AMD_DRIVER = Path('/dev/kfd')  # PyTorch for AMD calls its devices cuda too


def may_have_gpu() -> bool:
    """Whether there is a GPU driver; importing torch, which knows more, takes seconds."""
    try:
        ctypes.CDLL('libcuda.so.1')
    except OSError:
        return AMD_DRIVER.exists()
    return True


def pick_device(device: str) -> str:
    """
    Turn auto, cpu, cuda or cuda:N into a device that exists: cpu or cuda:N.

    `auto` is the first CUDA device, else the CPU. EngineError if the device is not there;
    ImportError if there may be one and PyTorch is missing or does not load.
    """
    kind, colon, index = device.partition(':')
    known = kind == 'cuda' and index.isdecimal() if colon else kind in ('auto', 'cpu', 'cuda')
    if not known:
        raise EngineError(f'device must be auto, cpu, cuda or cuda:N, got {device!r}')
    if kind == 'cpu' or (kind == 'auto' and not may_have_gpu()):
        return 'cpu'
    try:
        import torch
    except ImportError:
        raise
    except Exception as error:  # libraries of another CUDA, say: OSError, ValueError
        raise ImportError(f'PyTorch does not load: {error}', name='torch') from error
    cuda_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == 'auto' and not cuda_devices:
        return 'cpu'
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
    return f'cuda:{int(index or 0)}'
