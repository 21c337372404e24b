"""
The model file: where training and node meet.

One .safetensors file. Its tensors are the network's weights as float16; the metadata header holds,
as JSON, everything needed to run them and to know where they come from. Nothing is unpickled.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import load as arrays_of

from road_seg_ros import __version__
from road_seg_ros.architecture import Architecture
from road_seg_ros.geometry import network_size
from road_seg_ros.resources import PACKAGE, find_resource
from road_seg_ros.whole_file import write_whole

if TYPE_CHECKING:  # torch takes seconds to import, and OpenVINO runs the network without it
    from road_seg_ros.fcn8 import FCN8

FORMAT = 'road_seg_ros checkpoint'
FORMAT_VERSION = 3  # 1 had no temperature, 2 did not say which images were seen
READABLE_VERSIONS = ('1', '2', '3')
DEFAULT_MODEL = 'weights/road_seg_compact.safetensors'
PACKAGE_SCHEME = f'package://{PACKAGE}/'


class CheckpointError(ValueError):
    """A model file that is missing, damaged or made by another version; says what to do."""


@dataclasses.dataclass(frozen=True)
class Normalization:
    """
    How a uint8 image becomes the network's input: (image * scale - mean) / std, per channel.

    channel_order is `RGB` or `BGR` and is the order of mean and std too.
    """

    channel_order: str = 'RGB'
    scale: float = 1 / 255
    mean: tuple[float, float, float] = (0.48235, 0.45882, 0.40784)
    std: tuple[float, float, float] = (1 / 255, 1 / 255, 1 / 255)

    def __post_init__(self) -> None:
        if self.channel_order not in ('RGB', 'BGR'):
            raise ValueError(f'channel_order must be RGB or BGR, got {self.channel_order!r}')
        numbers = (self.scale, *self.mean, *self.std)
        if len(self.mean) != 3 or len(self.std) != 3 or not all(map(math.isfinite, numbers)):
            raise ValueError('scale, mean and std must be finite, with three channels each')
        if min(self.std) <= 0 or self.scale <= 0:
            raise ValueError('scale and std must be above 0')

    def gain_and_offset(self) -> tuple[np.ndarray, np.ndarray]:
        """Return float32 (3, 1, 1) each: the input is image * gain + offset, in channel_order."""
        mean = np.array(self.mean, np.float32)[:, None, None]
        std = np.array(self.std, np.float32)[:, None, None]
        # Not divided: to the last bit what PyTorch makes of it, with which models were trained.
        return np.float32(self.scale) * (1 / std), -mean / std


@dataclasses.dataclass(frozen=True)
class InputSize:
    """
    How large the network wants its images, in pixels.

    With keep_aspect_ratio an image is resized to about height x width pixels in its own shape;
    without, to exactly height x width.
    """

    height: int = 160
    width: int = 576
    keep_aspect_ratio: bool = True

    def __post_init__(self) -> None:
        if not all(type(side) is int and side >= 1 for side in (self.height, self.width)):
            raise ValueError(f'input size must be whole pixels, got {self.height}x{self.width}')

    def fit(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) to which a height x width image is resized."""
        if not self.keep_aspect_ratio:
            return self.height, self.width
        return network_size(height, width, self.height * self.width)


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """Everything about a model but its weights."""

    architecture: Mapping[str, Any]  # FCN8's arguments
    input: InputSize = InputSize()
    normalization: Normalization = Normalization()
    threshold: float = 0.5  # of the road probability; chosen on validation data
    temperature: float = 1.0  # divides the logits, so that the probability is calibrated
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    metrics: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    data: str = ''
    data_license: str = ''
    seen: tuple[str, ...] = ()  # labelled images it learned from: training.provenance.seen_by
    created: str = ''  # ISO 8601, UTC
    code_version: str = ''

    def __post_init__(self) -> None:
        for name in ('architecture', 'training', 'metrics'):
            if not isinstance(getattr(self, name), Mapping):
                raise ValueError(f'{name} must be a mapping, got {getattr(self, name)!r}')
        if not all(isinstance(image, str) for image in self.seen):
            raise ValueError(f'seen must be strings, got {self.seen!r}')
        for name in ('data', 'data_license', 'created', 'code_version'):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f'{name} must be a string, got {getattr(self, name)!r}')
        if not 0.0 <= self.threshold <= 1.0:
            raise ValueError(f'threshold must be in [0, 1], got {self.threshold}')
        if not 0.0 < self.temperature < math.inf:
            raise ValueError(f'temperature must be above 0 and finite, got {self.temperature}')

    def describe(self) -> str:
        """Return one line for a log: network, size, threshold, quality, date."""
        arch = self.architecture
        max_f = self.metrics.get('max_f')
        parts = [
            f'FCN-8 width {arch.get("width")} head {arch.get("head")}',
            f'input {self.input.height}x{self.input.width}',
            f'threshold {self.threshold:.3f}',
            f'temperature {self.temperature:.3f}',
            f'validation MaxF {max_f:.1f}' if isinstance(max_f, (int, float)) else '',
            f'created {self.created[:10]}' if self.created else '',
        ]
        return ', '.join(part for part in parts if part)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A model file that has been read."""

    path: Path
    info: ModelInfo
    content: bytes = dataclasses.field(repr=False)

    def digest(self) -> str:
        """Return the SHA-256 of the file, in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()

    def require_two_classes(self) -> None:
        """Raise CheckpointError if it does not tell road from not road, and nothing else."""
        if (classes := self.info.architecture.get('classes', 2)) != 2:
            raise CheckpointError(
                f'{self.path} scores {classes} classes; a mask needs two, not road and road'
            )

    def network(self) -> FCN8:
        """
        Return the network (float32, on the CPU, in evaluation mode).

        CheckpointError as for `weights`.
        """
        import torch

        from road_seg_ros.fcn8 import FCN8

        weights = {name: torch.from_numpy(array) for name, array in self.weights().items()}
        # Not on the device meta, which takes a second to import.
        network = FCN8(**self.info.architecture)
        network.load_state_dict(weights)
        return network.eval()

    def weights(self) -> dict[str, np.ndarray]:
        """
        Return the weights and biases by their names in the network's state_dict, float32 each.

        CheckpointError if they are not those of the network's architecture, or not finite.
        """
        try:
            architecture = Architecture(**self.info.architecture)
        except (TypeError, ValueError) as error:
            raise CheckpointError(
                f'{self.path} describes a network this version cannot build: {error}; '
                'train or export it again with this version'
            ) from error
        try:
            arrays = arrays_of(self.content)
        except KeyError as error:  # bfloat16, for one
            raise CheckpointError(
                f'{self.path} holds numbers of type {error}, not float16; export it again'
            ) from error
        _check_weights(self.path, arrays, architecture.weight_shapes())
        return {name: array.astype(np.float32) for name, array in arrays.items()}


def find(model_path: str | os.PathLike[str] = '') -> Path:
    """
    Turn a model path into the path of an existing file.

    model_path: absolute; starting with `~`; relative to the current directory;
    `package://road_seg_ros/<path>`; or empty for the default model that ships with the package.
    CheckpointError if there is no such file.
    """
    text = os.fspath(model_path)
    if not text or text.startswith('package://'):
        return _find_in_package(text or PACKAGE_SCHEME + DEFAULT_MODEL)
    try:
        path = Path(text).expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (RuntimeError, OSError) as error:  # no such user; a folder that may not be entered
        raise CheckpointError(f'model file {text!r}: {error}') from error
    if is_folder:
        raise CheckpointError(
            f'model file {text!r} is a folder; give the .safetensors file inside it'
        )
    if not is_file:
        raise CheckpointError(
            f'model file {text!r} does not exist (looked at {path.absolute()}); leave model_path '
            'empty for the model that ships with the package'
        )
    return path


def save(path: str | os.PathLike[str], network: FCN8, info: ModelInfo) -> None:
    """
    Write network and info to one .safetensors file, replacing it in one step.

    The architecture is taken from the network; creation date and code version are filled in when
    info leaves them empty. ValueError if a weight is not finite or does not fit float16.
    """
    import torch
    from safetensors.torch import save as serialize

    tensors = {}
    for name, tensor in network.state_dict().items():
        tensors[name] = tensor.detach().to('cpu', torch.float16).contiguous()
        if not torch.isfinite(tensors[name]).all():
            raise ValueError(f'{name} holds values that are not finite as float16; not saved')
    info = dataclasses.replace(
        info,
        architecture=network.architecture,
        created=info.created or datetime.now(timezone.utc).isoformat(timespec='seconds'),
        code_version=info.code_version or __version__,
    )
    metadata = {
        'format': FORMAT,
        'format_version': str(FORMAT_VERSION),
        'model': json.dumps(dataclasses.asdict(info)),
    }
    write_whole(Path(path), serialize(tensors, metadata))


def load_info(model_path: str | os.PathLike[str] = '') -> ModelInfo:
    """Read everything about a model but its weights. CheckpointError as for `load`."""
    return read(model_path).info


def load(model_path: str | os.PathLike[str] = '') -> tuple[FCN8, ModelInfo]:
    """
    Read a model file.

    model_path: as for `find`.
    Returns the network (float32, on the CPU, in evaluation mode) and its info.
    CheckpointError says what is wrong with the file and what to do about it.
    """
    checkpoint = read(model_path)
    return checkpoint.network(), checkpoint.info


def read(model_path: str | os.PathLike[str] = '') -> Checkpoint:
    """Read a model file, whose network can then be built. CheckpointError as for `load`."""
    path = find(model_path)
    # In one go and not mapped: a file that is cut short meanwhile would be a bus error.
    try:
        content = path.read_bytes()
        deserialize(content)
    except PermissionError as error:
        raise CheckpointError(f'{path} may not be read: {error}; check its permissions') from error
    except OSError as error:
        raise CheckpointError(f'{path} cannot be read: {error}') from error
    except SafetensorError as error:
        raise CheckpointError(
            f'{path} is not a complete .safetensors file ({error}); it was cut short, damaged or '
            'is another kind of file: copy it again'
        ) from error
    return Checkpoint(path, _read_info(path, read_metadata(content)), content)


def read_metadata(content: bytes) -> dict[str, str]:
    """Return what the header of a whole .safetensors file says beside its tensors."""
    header_bytes = int.from_bytes(content[:8], 'little')
    return json.loads(content[8 : 8 + header_bytes]).get('__metadata__') or {}


def _find_in_package(uri: str) -> Path:
    if not uri.startswith(PACKAGE_SCHEME):
        raise CheckpointError(f'model path {uri!r} names another package; use {PACKAGE_SCHEME}...')
    path = find_resource(uri[len(PACKAGE_SCHEME) :])
    if path is None or not path.is_file():
        raise CheckpointError(
            f'{uri} is not part of this installation of {PACKAGE}; install the package again, or '
            'give the path of a model file'
        )
    return path


def _read_info(path: Path, metadata: Mapping[str, str]) -> ModelInfo:
    if metadata.get('format') != FORMAT:
        raise CheckpointError(
            f'{path} is a .safetensors file but not a {FORMAT}; write one with '
            '`python -m training.train`'
        )
    version = metadata.get('format_version', '')
    if version not in READABLE_VERSIONS:
        raise CheckpointError(
            f'{path} has format version {version!r}, this program reads '
            f'{", ".join(READABLE_VERSIONS)}; '
            'update road_seg_ros or train the model again'
        )
    try:
        fields = json.loads(metadata['model'])
        size = InputSize(**fields.pop('input'))
        values = fields.pop('normalization')
        normalization = Normalization(
            **{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        )
        seen = tuple(fields.pop('seen', ()))
        return ModelInfo(input=size, normalization=normalization, seen=seen, **fields)
    except (
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
        AttributeError,
        RecursionError,
    ) as error:
        raise CheckpointError(
            f'the description inside {path} is damaged: {error}; copy the file again or train '
            'the model again'
        ) from error


def _check_weights(
    path: Path, arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    again = 'copy the file again or train the model again'
    if missing := sorted(shapes.keys() - arrays.keys()):
        raise CheckpointError(f'{path} lacks {len(missing)} weights, first {missing[0]}; {again}')
    if extra := sorted(arrays.keys() - shapes.keys()):
        raise CheckpointError(
            f'{path} holds {len(extra)} weights that its network has no place for, '
            f'first {extra[0]}; {again}'
        )
    for name, array in arrays.items():
        if array.shape != shapes[name]:
            raise CheckpointError(
                f'{path}: {name} has shape {array.shape}, its network needs {shapes[name]}; '
                f'{again}'
            )
        if array.dtype.kind != 'f':
            raise CheckpointError(
                f'{path}: {name} holds {array.dtype}, its network needs floating point; {again}'
            )
        if not np.isfinite(array).all():
            raise CheckpointError(f'{path}: {name} holds values that are not finite; {again}')
