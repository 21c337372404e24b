"""
What a model needs besides its weights to run in int8: the file NAME.int8.safetensors beside it.

The weights are rounded from the model file's own, so the file holds only the ranges of the
activations (two numbers a layer), measured on labelled images, and how well they did.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shlex
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, deserialize

from road_seg_ros.checkpoint import Checkpoint, read_metadata
from road_seg_ros.engines import EngineError
from road_seg_ros.whole_file import write_whole

SUFFIX = '.int8.safetensors'
FORMAT = 'road_seg_ros int8 ranges'
FORMAT_VERSION = '1'


@dataclasses.dataclass(frozen=True)
class Quantization:
    """
    How the layers of one model become int8.

    ranges: (lowest, highest) input of each convolution but the first, whose input are pixels.
    checkpoint: SHA-256 of the model file that they were measured with. data, data_license: of the
    images. metrics: max_f and iou of fp32, max_f_int8 and iou_int8, and mask_iou
    between both; all 0..100.
    """

    ranges: Mapping[str, tuple[float, float]]
    checkpoint: str
    data: str = ''
    data_license: str = ''
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    nncf_version: str = ''

    def describe(self) -> str:
        """Return one line for a log: how well int8 does."""
        int8, fp32 = self.metrics['max_f_int8'], self.metrics['max_f']
        return f'checked in int8: MaxF {int8:.2f}, in fp32 {fp32:.2f}'

    def digest(self) -> str:
        """Return a SHA-256 of what the network is made of, in hexadecimal."""
        content = repr((self.checkpoint, sorted(self.ranges.items())))
        return hashlib.sha256(content.encode()).hexdigest()


def path_for(model: Path) -> Path:
    """Return where the ranges of a model file are."""
    return model.with_name(model.name.removesuffix('.safetensors') + SUFFIX)


def read(checkpoint: Checkpoint) -> Quantization:
    """Read the ranges of a model. EngineError says what is wrong and which command makes it."""
    path = path_for(checkpoint.path)
    make = (
        f'make it with `python -m training.export --model {shlex.quote(str(checkpoint.path))} '
        '--format openvino --int8 --calibration KITTI_DIR --out FILE.xml`'
    )
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise EngineError(f'precision int8 needs {path}, which does not exist; {make}') from error
    except OSError as error:
        raise EngineError(f'precision int8 needs {path}: {error}; {make}') from error
    try:
        quantization = _parse(content)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise EngineError(f'{path} is damaged or of another version ({error}); {make}') from error
    if quantization.checkpoint != checkpoint.digest():
        raise EngineError(f'{path} belongs to another model file than {checkpoint.path}; {make}')
    return quantization


def save(path: Path, quantization: Quantization) -> None:
    """Write a file for `read`."""
    from safetensors.numpy import save as serialize

    facts = dataclasses.asdict(quantization)
    ranges = {name: np.array(range_, np.float32) for name, range_ in facts.pop('ranges').items()}
    metadata = {'format': FORMAT, 'format_version': FORMAT_VERSION, 'facts': json.dumps(facts)}
    write_whole(path, serialize(ranges, metadata))


def _parse(content: bytes) -> Quantization:
    tensors = deserialize(content)
    metadata = read_metadata(content)
    if (metadata.get('format'), metadata.get('format_version')) != (FORMAT, FORMAT_VERSION):
        raise ValueError(f'it is not {FORMAT} of version {FORMAT_VERSION}')
    ranges = {}
    for name, tensor in tensors:
        low, high = np.frombuffer(tensor['data'], np.float32)
        if not -np.inf < low < high < np.inf:
            raise ValueError(f'{name} has the range {low}..{high}')
        ranges[name] = (float(low), float(high))
    quantization = Quantization(ranges, **json.loads(metadata['facts']))
    quantization.describe()  # KeyError without the metrics: an unchecked model is not run
    return quantization
