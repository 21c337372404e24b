"""Run the network with OpenVINO, on the CPU."""

from __future__ import annotations

import functools
import hashlib
import io
import sys
import warnings
from types import ModuleType
from typing import Any

import numpy as np
import torch

from road_seg_ros import __version__
from road_seg_ros.checkpoint import ModelInfo
from road_seg_ros.engines import EngineError, compiled_cache
from road_seg_ros.engines.on_cpu import CpuEngine
from road_seg_ros.engines.torch_engine import RoadProbability
from road_seg_ros.fcn8 import FCN8

# What OpenVINO calls the arithmetic; it keeps to float32 where the processor has no bfloat16.
TYPE_NAMES = {'fp32': 'f32', 'bf16': 'bf16'}


@functools.cache
def core() -> Any:
    """
    Return the one `openvino.Core` of this process.

    Each further one loads the CPU plugin again, which gives the thread another stack for signals;
    when they do not go in reverse order, the thread is left with one that is unmapped, and its
    next signal (Ctrl-C, or a child process that ends) is a segmentation fault.
    """
    return import_openvino().Core()


def import_openvino() -> ModuleType:
    """
    Return the module openvino, without its telemetry.

    Its converter would report each use to Google Analytics, unless that module is missing.
    """
    if 'openvino' not in sys.modules:
        sys.modules.setdefault('openvino_telemetry', None)
    import openvino

    return openvino


class OpenVinoEngine(CpuEngine):
    """OpenVINO on the CPU. See `Engine`."""

    name = 'openvino'

    def __init__(self, network: FCN8, info: ModelInfo, precision: str = 'auto') -> None:
        try:
            import_openvino()
        except ImportError as error:
            raise EngineError(
                f'engine openvino needs the package openvino ({error}): pip install openvino, or '
                'set engine to torch'
            ) from error
        if precision == 'auto':
            has_bf16 = 'BF16' in core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
            precision = 'bf16' if has_bf16 else 'fp32'
        if precision not in TYPE_NAMES:
            raise EngineError(f'engine openvino runs fp32 and bf16, not {precision}')
        super().__init__(info.input, precision)
        self._compiled = _compiled(RoadProbability(network.float().eval(), info), precision)

    def road_probability(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) BGR -> road probability, float32 (H, W)."""
        return self._compiled(np.ascontiguousarray(pixels)[None])[0][0]

    def close(self) -> None:
        """Free the memory of the network."""
        self._compiled = None


def _compiled(network: RoadProbability, precision: str) -> Any:
    """Compile the network, or take what an earlier start compiled."""
    openvino = import_openvino()
    options = {'PERFORMANCE_HINT': 'LATENCY', 'INFERENCE_PRECISION_HINT': TYPE_NAMES[precision]}
    key = _fingerprint(network, openvino.__version__, options)
    if (content := compiled_cache.read(key)) is not None:
        try:
            return core().import_model(content, 'CPU', options)
        except RuntimeError:
            pass  # of another kind than its name says; made again below
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # it traces with what PyTorch calls deprecated
        model = openvino.convert_model(
            network,
            example_input=torch.zeros((1, 64, 64, 3), dtype=torch.uint8),
            input=[1, -1, -1, 3],  # any height and width
        )
    compiled = core().compile_model(model, 'CPU', options)
    stream = io.BytesIO()
    compiled.export_model(stream)
    compiled_cache.write(key, stream.getvalue())
    return compiled


def _fingerprint(network: RoadProbability, *circumstances: Any) -> str:
    """Return a name for everything that the compiled model depends on."""
    processor = core().get_property('CPU', 'FULL_DEVICE_NAME')
    layers = str(network), network.bgr_to_rgb, network.temperature
    digest = hashlib.sha256(repr((__version__, processor, layers, circumstances)).encode())
    for name, tensor in network.state_dict().items():
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
