"""
The ways to run the network; one module each, all with the calls of `Engine`.

An engine gets the camera's image and gives the mask at the image's size, with everything between
done where it is quickest.

`choose` picks one. An engine that this machine cannot provide is an error that says why, never a
silent change to another.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # torch takes seconds to import; the names below must not
    import numpy as np

    from road_seg_ros.checkpoint import Checkpoint

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
    from_cache: bool  # whether an earlier start compiled it

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


def not_finite(engine: Engine) -> ArithmeticError:
    """Return what an engine raises when its network answers with a value that is not finite."""
    return ArithmeticError(
        f'the network answered with values that are not finite (engine {engine.name}, '
        f'precision {engine.precision}); try precision fp32'
    )


@dataclass(frozen=True)
class Choice:
    """What runs the network where; `why` is for the log, '' where nothing was left to choose."""

    device: str  # cpu, cuda:0, ...
    engine: str  # torch or openvino
    precision: str  # fp32, fp16, bf16 or int8; on a CUDA device also auto
    why: str = ''

    def create(self, checkpoint: Checkpoint) -> Engine:
        """Return the engine. EngineError if it cannot be had here; CheckpointError."""
        if self.device != 'cpu':
            import torch

            from road_seg_ros.engines.cuda_engine import CudaEngine

            network, device = checkpoint.network(), torch.device(self.device)
            return CudaEngine(network, checkpoint.info, device, self.precision)
        if self.engine == 'torch':
            from road_seg_ros.engines.torch_engine import TorchEngine

            return TorchEngine(checkpoint.network(), checkpoint.info, self.precision)
        from road_seg_ros.engines.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(checkpoint, self.precision)


def choose(
    checkpoint: Checkpoint, device: str = 'auto', engine: str = 'auto', precision: str = 'auto'
) -> Choice:
    """
    Return what is to run a model.

    device: auto, cpu, cuda or cuda:N; engine: one of ENGINES; precision: one of PRECISIONS.
    `auto` is a CUDA device with torch if there are both, unless engine is openvino. On the CPU it
    is OpenVINO where that is installed, else torch, in the fastest precision whose accuracy is
    known: int8 if this model was checked in int8 and the processor has instructions for it, else
    bf16 if the processor calculates in that, else fp32.
    EngineError says what does not exist.
    """
    if engine not in ENGINES:
        raise EngineError(f'engine must be one of {", ".join(ENGINES)}, got {engine!r}')
    if precision not in PRECISIONS:
        raise EngineError(f'precision must be one of {", ".join(PRECISIONS)}, got {precision!r}')
    from road_seg_ros.engines.devices import pick_device

    why = []
    if device == 'auto' and engine == 'openvino':
        device = 'cpu'
    try:
        device = pick_device(device)
    except ImportError as error:
        if device != 'auto':
            raise
        device = 'cpu'
        missing = isinstance(error, ModuleNotFoundError)
        problem = 'is not installed' if missing else f'cannot be used: {error}'
        why.append(f'a GPU, if there is one, needs PyTorch, which {problem}')
    if device != 'cpu':
        if engine == 'openvino':
            raise EngineError('engine openvino runs on the CPU; set device cpu, or engine torch')
        return Choice(device, 'torch', precision)
    if engine == 'auto':
        engine = 'openvino' if _has_openvino() and precision != 'fp16' else 'torch'
    if precision == 'auto':
        precision, reason = _fastest_precision(checkpoint, engine)
        why.append(reason)
    return Choice(device, engine, precision, '; '.join(why))


def _fastest_precision(checkpoint: Checkpoint, engine: str) -> tuple[str, str]:
    """Return the fastest precision on the CPU whose accuracy is known, and why it is that."""
    from road_seg_ros.engines import processor, quantization

    if engine != 'openvino':
        no_int8 = 'int8 needs openvino'
    elif not processor.has_int8():
        no_int8 = 'this processor has no VNNI or AMX for int8'
    else:
        try:
            return 'int8', quantization.read(checkpoint).describe()
        except EngineError as error:
            no_int8 = f'no int8: {error}'
    if processor.has_bf16(engine):
        return 'bf16', f'this processor calculates in bf16; {no_int8}'
    return 'fp32', f'this processor has no bf16 for {engine}; {no_int8}'


def preload() -> None:
    """
    Import the libraries that the node will probably need: seconds, and most of the memory.

    One that is missing or broken is reported later, by what needs it.
    """
    with contextlib.suppress(Exception):
        import road_seg_ros.checkpoint  # noqa: F401
        from road_seg_ros.engines.devices import may_have_gpu

        if _has_openvino():
            from road_seg_ros.engines.openvino_engine import core

            core()
        if may_have_gpu() or not _has_openvino():
            import torch  # noqa: F401


def _has_openvino() -> bool:
    return importlib.util.find_spec('openvino') is not None
