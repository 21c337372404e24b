"""
The ways to run the network; one module each, all with the call of `Engine`.

`create` picks one. An engine that this machine cannot provide is an error that says why, never a
silent change to another.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # torch takes seconds to import; the names below must not
    import numpy as np

    from road_seg_ros.checkpoint import ModelInfo
    from road_seg_ros.fcn8 import FCN8

ENGINES = ('auto', 'torch', 'openvino')
PRECISIONS = ('auto', 'fp32', 'fp16', 'bf16', 'int8')


class EngineError(ValueError):
    """An engine, device or precision that cannot be had here; says why and what to set."""


class Engine(Protocol):
    """A network ready to run."""

    name: str  # torch or openvino
    device: str  # cpu, cuda:0, ...
    precision: str  # fp32, fp16, bf16 or int8

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """
        Return the road probability of every pixel, float32 (H, W) in 0..1.

        image: uint8 (H, W, 3) BGR at the network's own size.
        """

    def close(self) -> None:
        """Free the memory of the network. The engine cannot be called afterwards."""


def create(
    network: FCN8,
    info: ModelInfo,
    device: str = 'auto',
    engine: str = 'auto',
    precision: str = 'auto',
) -> Engine:
    """
    Return the engine that was asked for.

    device: auto, cpu, cuda or cuda:N; engine: one of ENGINES; precision: one of PRECISIONS.
    `auto` is a CUDA device with torch if there is one; on the CPU, OpenVINO where it is installed
    and the precision does not ask for torch, else torch.
    EngineError says what cannot be had here.
    """
    if engine not in ENGINES:
        raise EngineError(f'engine must be one of {", ".join(ENGINES)}, got {engine!r}')
    if precision not in PRECISIONS:
        raise EngineError(f'precision must be one of {", ".join(PRECISIONS)}, got {precision!r}')
    from road_seg_ros.engines.torch_engine import TorchEngine, pick_device

    picked = pick_device(device)
    if engine == 'auto':
        on_cpu = picked.type == 'cpu'
        engine = 'openvino' if on_cpu and _has_openvino() and precision != 'fp16' else 'torch'
    if engine == 'torch':
        return TorchEngine(network, info, picked, precision)
    from road_seg_ros.engines.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(network, info, picked.type, precision)


def preload() -> None:
    """
    Import the libraries of every engine that is installed: seconds, and most of the memory.

    ImportError if torch is missing.
    """
    import road_seg_ros.segmenter  # noqa: F401

    if _has_openvino():
        from road_seg_ros.engines.openvino_engine import core

        core()


def _has_openvino() -> bool:
    return importlib.util.find_spec('openvino') is not None
