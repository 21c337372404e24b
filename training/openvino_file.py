"""Write and run OpenVINO files: NAME.xml, the graph, and NAME.bin, its weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from road_seg_ros.engines.openvino_engine import core
from training.exportable import INPUT, OUTPUT, Exportable

if TYPE_CHECKING:
    import openvino

PACKAGES = ('openvino',)
SUFFIX = '.xml'
PRECISION = 'fp16 weights'
RT_INFO = 'road_seg'  # where the metadata is in rt_info


def convert(exportable: Exportable) -> openvino.Model:
    """Return the network as an OpenVINO model, float32."""
    import openvino

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # it traces with what PyTorch calls deprecated
        model = openvino.convert_model(
            exportable.module, example_input=exportable.example(), input=exportable.shape
        )
    model.input(0).get_tensor().set_names({INPUT})
    model.output(0).get_tensor().set_names({OUTPUT})
    return model


def save(model: openvino.Model, path: Path, metadata: Mapping[str, str]) -> None:
    """
    Write path and the .bin beside it; metadata goes to rt_info, under RT_INFO.

    Weights are written as float16. That loses nothing: in the model file they are float16 too.
    """
    import openvino

    for key, value in metadata.items():
        model.set_rt_info(value, [RT_INFO, key])
    openvino.save_model(model, path, compress_to_fp16=True)


def load(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Return a call that runs the file with OpenVINO on the CPU."""
    # OpenVINO would pick bfloat16 where the processor has it: rounding that is not in the file.
    options = {'INFERENCE_PRECISION_HINT': 'f32'}
    compiled = core().compile_model(path, 'CPU', options)
    return lambda image: compiled(image)[0]
