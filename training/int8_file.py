"""Write NAME.int8.safetensors, with which the node runs a model in int8."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from road_seg_ros.checkpoint import Checkpoint
from road_seg_ros.engines import quantization
from road_seg_ros.engines.openvino_engine import OpenVinoEngine
from road_seg_ros.engines.processor import has_int8
from road_seg_ros.engines.quantization import Quantization
from training import licenses
from training.export_check import check_engine
from training.exportable import ExportError
from training.kitti_road import Pair, has_kitti

if TYPE_CHECKING:
    import openvino

# The layer in the name that OpenVINO gives the convolution it is converted from.
LAYER = re.compile(r'\.((?:features|head)\.\d+|score7)/')
# What may lie between the rounding of an activation and the convolution that takes it.
PASSED_ON = ('MaxPool', 'Pad')


def write(
    model: openvino.Model,
    checkpoint: Checkpoint,
    calibration: Sequence[Pair],
    held_out: Sequence[Pair],
) -> list[str]:
    """
    Write the file beside the model file, and return what the check found, in lines of text.

    model: quantised by NNCF, on the images in `calibration`; held_out: others, to check on.
    CheckError if the node would be worse in int8 than is allowed; then nothing is written.
    """
    import nncf

    if not has_int8():
        return ['no file for the node: this processor has no int8 instructions to check it with']
    own = licenses.KITTI if has_kitti(calibration) else ''
    found = Quantization(
        ranges(model),
        checkpoint.digest(),
        data=f'{len(calibration)} images for the ranges, {len(held_out)} others for the metrics',
        data_license=licenses.combined([checkpoint.info.data_license, own]),
        nncf_version=nncf.__version__,
    )
    engine = OpenVinoEngine(checkpoint, 'int8', found)
    found = dataclasses.replace(found, metrics=check_engine(engine, checkpoint, held_out))
    path = quantization.path_for(checkpoint.path)
    quantization.save(path, found)
    return [f'wrote {path}, for the node: {found.describe()}']


def ranges(model: openvino.Model) -> dict[str, tuple[float, float]]:
    """Return the (lowest, highest) input of every convolution but the first, by its layer."""
    found = {}
    for operation in model.get_ordered_ops():
        layer = LAYER.search(operation.get_friendly_name())
        if operation.get_type_name() != 'Convolution' or layer is None:
            continue
        source = _source(operation, 0)
        while source.get_type_name() in PASSED_ON:
            source = _source(source, 0)
        if layer[1] == 'features.0':
            continue
        if source.get_type_name() != 'FakeQuantize':
            raise ExportError(f'NNCF left the input of {layer[1]} in float; use nncf 2.13 to 3')
        low, high = (np.ravel(_source(source, index).data) for index in (1, 2))
        found[layer[1]] = (float(low.min()), float(high.max()))
    return found


def _source(operation: Any, index: int) -> Any:
    return operation.input_value(index).get_node()
