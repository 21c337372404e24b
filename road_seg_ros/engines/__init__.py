"""
The ways to run the network; one module each, all with the calls of `Engine`.

An engine gets the camera's image and gives the mask at the image's size, with everything between
done where it is quickest.

`create` picks one. An engine that this machine cannot provide is an error that says why, never a
silent change to another.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # torch takes seconds to import; the names below must not
    import numpy as np

    from road_seg_ros.checkpoint import ModelInfo
    from road_seg_ros.fcn8 import FCN8

ENGINES = ('auto', 'torch', 'openvino')
PRECISIONS = ('auto', 'fp32', 'fp16', 'bf16', 'int8')


class EngineError(ValueError):
    """An engine, device or precision that cannot be had here; says why and what to set."""


@dataclass(frozen=True)
class Tint:
    """How the road is tinted on an overlay. color: RGB, three of 0..255; alpha: 0..1."""

    color: tuple[int, int, int]
    alpha: float


@dataclass(frozen=True)
class Wanted:
    """What is to be computed of an image, beside its mask."""

    threshold: float  # of the road probability, 0..1
    confidence: bool = True
    tint: Tint | None = None  # of the overlay; None for no overlay


@dataclass(frozen=True)
class Segmentation:
    """
    Where the road is in one image, at the image's own height and width.

    mask: uint8 (H, W), 255 where the confidence reaches the threshold, else 0.
    confidence: uint8 (H, W), round(255 x road probability); None if it was not wanted.
    overlay: uint8 (H, W, 3) BGR, the image with the road tinted; None if it was not wanted.
    """

    mask: np.ndarray
    confidence: np.ndarray | None
    overlay: np.ndarray | None = None


class Engine(Protocol):
    """A network ready to run. One thread at a time may use it."""

    name: str  # torch or openvino
    device: str  # cpu, cuda:0, ...
    precision: str  # fp32, fp16, bf16 or int8

    def submit(self, image: np.ndarray, wanted: Wanted) -> Callable[[], Segmentation]:
        """
        Begin to segment an image; the call that comes back waits for the result.

        image: uint8 (H, W, 3) BGR, any H and W of at least 1; it is not changed, and must not be
        until the result is there. At most two images may be under way.
        ArithmeticError, from either call, if the network's answer is not finite.
        """

    def stage_times(self, image: np.ndarray, wanted: Wanted) -> dict[str, float]:
        """Segment an image stage by stage; return the ms that each took, in their order."""

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
    `auto` is a CUDA device with torch if there is one; on the CPU, OpenVINO where it is installed,
    else torch.
    EngineError says what cannot be had here.
    """
    if engine not in ENGINES:
        raise EngineError(f'engine must be one of {", ".join(ENGINES)}, got {engine!r}')
    if precision not in PRECISIONS:
        raise EngineError(f'precision must be one of {", ".join(PRECISIONS)}, got {precision!r}')
    from road_seg_ros.engines.devices import pick_device

    picked = pick_device(device)
    if picked.type == 'cuda':
        if engine == 'openvino':
            raise EngineError('engine openvino runs on the CPU; set device cpu, or engine torch')
        from road_seg_ros.engines.cuda_engine import CudaEngine

        return CudaEngine(network, info, picked, precision)
    if engine == 'auto':
        engine = 'openvino' if _has_openvino() and precision != 'fp16' else 'torch'
    if engine == 'torch':
        from road_seg_ros.engines.torch_engine import TorchEngine

        return TorchEngine(network, info, precision)
    from road_seg_ros.engines.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(network, info, precision)


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
