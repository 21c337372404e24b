"""Run the network with OpenVINO, on the CPU."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import torch

from road_seg_ros.checkpoint import ModelInfo
from road_seg_ros.engines import EngineError
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
    import openvino

    return openvino.Core()


class OpenVinoEngine:
    """OpenVINO on the CPU. See `Engine`."""

    name = 'openvino'
    device = 'cpu'

    def __init__(
        self, network: FCN8, info: ModelInfo, device_type: str, precision: str = 'auto'
    ) -> None:
        try:
            import openvino
        except ImportError as error:
            raise EngineError(
                f'engine openvino needs the package openvino ({error}): pip install openvino, or '
                'set engine to torch'
            ) from error
        if device_type != 'cpu':
            raise EngineError('engine openvino runs on the CPU; set device cpu, or engine torch')
        if precision == 'auto':
            has_bf16 = 'BF16' in core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
            precision = 'bf16' if has_bf16 else 'fp32'
        if precision not in TYPE_NAMES:
            raise EngineError(f'engine openvino runs fp32 and bf16, not {precision}')
        self.precision = precision
        size = (1, info.input.height, info.input.width, 3)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # it traces with what PyTorch calls deprecated
            model = openvino.convert_model(
                RoadProbability(network.float().eval(), info),
                example_input=torch.zeros(size, dtype=torch.uint8),
                input=[1, -1, -1, 3],  # any height and width
            )
        options = {
            'PERFORMANCE_HINT': 'LATENCY',
            'INFERENCE_PRECISION_HINT': TYPE_NAMES[precision],
        }
        self._compiled = core().compile_model(model, 'CPU', options)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) BGR -> road probability, float32 (H, W)."""
        return self._compiled(np.ascontiguousarray(image)[None])[0][0]

    def close(self) -> None:
        """Free the memory of the network."""
        self._compiled = None
