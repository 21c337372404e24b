"""Write and run ONNX files."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from training.exportable import INPUT, OUTPUT, Exportable

if TYPE_CHECKING:
    import onnx

PACKAGES = ('onnx', 'onnxruntime', 'onnxscript')
SUFFIX = '.onnx'
PRECISION = 'fp32'


def convert(exportable: Exportable) -> onnx.ModelProto:
    """Return the network as an ONNX model, float32."""
    axes = [axis for axis, length in enumerate(exportable.shape) if length == -1]
    # DYNAMIC, not named Dims: with those PyTorch 2.11 cannot bound `-height % 32`.
    dynamic = {INPUT: dict.fromkeys(axes, torch.export.Dim.DYNAMIC)}
    logging.getLogger('torch.onnx').setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # about PyTorch's own insides
        program = torch.onnx.export(
            exportable.module,
            (exportable.example(),),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=dynamic,
            dynamo=True,
            verbose=False,
        )
    model = program.model_proto
    _name_lengths(model, exportable)
    return model


def save(model: onnx.ModelProto, path: Path, metadata: Mapping[str, str]) -> None:
    """Write one file, weights included; metadata goes to metadata_props."""
    import onnx

    del model.metadata_props[:]
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)


def load(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Return a call that runs the file with ONNX Runtime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    return lambda image: session.run([OUTPUT], {INPUT: image})[0]


def _name_lengths(model: onnx.ModelProto, exportable: Exportable) -> None:
    """Call the free lengths batch, height and width: the exporter has formulas for names."""
    names = ('batch', 'height', 'width')
    height, width = exportable.size or (-1, -1)
    channels_first = exportable.shape[1] == 3
    input_names = ('batch', '', 'height', 'width') if channels_first else (*names, '')
    for value, lengths, value_names in (
        (model.graph.input[0], exportable.shape, input_names),
        (model.graph.output[0], [-1, height, width], names),
    ):
        dims = value.type.tensor_type.shape.dim
        for dim, length, name in zip(dims, lengths, value_names, strict=True):
            if length == -1:
                dim.dim_param = name
            else:
                dim.dim_value = length
    del model.graph.value_info[:]  # optional, and it still has the names from before
