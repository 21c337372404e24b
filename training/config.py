"""The settings of a training run, read from YAML and the command line."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from road_seg_ros.architecture import HEADS
from road_seg_ros.checkpoint import InputSize

# Each of those that move the camera does what the one before it does, and more.
MOVING_CAMERAS = ('camera', 'weather', 'roads')
AUGMENTATIONS = ('none', 'flip_every_second', 'flip', *MOVING_CAMERAS)
LOSSES = ('softmax', 'sigmoid')
SCHEDULES = ('constant', 'poly')
PRECISIONS = ('32-true', 'bf16-mixed', '16-mixed')
AT_LEAST_1 = (
    'input_height',
    'input_width',
    'epochs',
    'batch_size',
    'validate_every',
    'checkpoint_every',
)
AT_LEAST_0 = (
    'seed',
    'synthetic',
    'warmup_epochs',
    'weight_decay',
    'l2',
    'init_std',
    'skip_std',
    'boundary',
    'lovasz',
    'frozen_blocks',
)
BACKBONES = ('imagenet_features', 'imagenet_v1', 'random')


class ConfigError(ValueError):
    """A setting that does not exist or has a bad value; names it and says what is allowed."""


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """One run. The defaults are no recipe; see training/configs."""

    # Network
    width: float = 1.0
    head: str = 'fc4096'
    dropout: float = 0.5  # probability of dropping
    backbone: str = 'imagenet_features'  # which weights VGG starts from, in --backbone too
    init_std: float = 0.01  # normal start of layers 6, 7 and of the score layers
    skip_std: float = 0.01  # normal start of the pool3 and pool4 scores

    # Input
    input_height: int = 160
    input_width: int = 576
    keep_aspect_ratio: bool = True  # False: every image is stretched to exactly that size

    # Data
    folds: int = 0  # the images are split into this many folds; 0 validates on none
    fold: int = -1  # the one to validate on; -1 is all of them in turn: cross-validation
    synthetic: int = 0  # synthetic scenes added to every epoch
    augmentation: str = 'weather'  # where no camera moves, images are stretched to the input
    many_shapes: bool = False  # half of the batches are cut for other cameras' aspect ratios
    crop: float = 1.0  # share of the input's pixels that an augmented image has

    # Loss
    # Cross entropy of both classes together, or one sigmoid each: the log odds are then twice as
    # large, which the temperature of the validation mends.
    loss: str = 'softmax'
    boundary: float = 0.0  # extra weight of pixels near the road's edge
    lovasz: float = 0.0  # weight of the Lovasz hinge
    imitation: float = 0.0  # share of the loss that follows the --teacher, not the labels
    imitation_temperature: float = 2.0

    # Optimisation
    epochs: int = 50
    batch_size: int = 15
    lr: float = 1e-3
    backbone_lr: float = 1e-3
    weight_decay: float = 0.0  # decoupled (AdamW), on every kernel
    l2: float = 0.0  # times half the squared kernels of the score and upsampling layers (Adam)
    schedule: str = 'poly'
    warmup_epochs: float = 0.0
    frozen_blocks: int = 0  # of VGG's five, those that keep their start weights
    ema: float = 0.0  # decay per step of the exponential moving average that is kept; 0: none

    # Where nothing validates, what cross-validation found
    threshold: float = 0.5
    temperature: float = 1.0

    # Run
    seed: int = 0
    precision: str = 'bf16-mixed'
    workers: int = -1  # processes that prepare images; -1: one for every core but one
    validate_every: int = 1  # epochs
    checkpoint_every: int = 1  # epochs; --resume goes on from the last

    @property
    def input_size(self) -> InputSize:
        """What the model file says of its input."""
        return InputSize(self.input_height, self.input_width, self.keep_aspect_ratio)

    def require_same_as(self, before: Mapping[str, Any]) -> None:
        """
        Refuse to go on with a run under other settings: they would be true of neither part.

        before: the settings of that run. ConfigError names the first that differs.
        """
        for name, now in dataclasses.asdict(self).items():
            if now != before.get(name) and name != 'workers':
                raise ConfigError(
                    f'--resume goes on with the settings of the run; {name} was '
                    f'{before.get(name)!r} and is {now!r} now'
                )

    def __post_init__(self) -> None:
        _one_of('augmentation', self.augmentation, AUGMENTATIONS)
        _one_of('loss', self.loss, LOSSES)
        _one_of('schedule', self.schedule, SCHEDULES)
        _one_of('backbone', self.backbone, BACKBONES)
        _one_of('head', self.head, tuple(HEADS))
        _one_of('precision', self.precision, PRECISIONS)
        for name, value in dataclasses.asdict(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ConfigError(f'{name} must be finite, got {value}')
        for name in AT_LEAST_1:
            if getattr(self, name) < 1:
                raise ConfigError(f'{name} must be at least 1, got {getattr(self, name)}')
        for name in ('width', 'lr', 'backbone_lr', 'temperature', 'imitation_temperature'):
            if not getattr(self, name) > 0:
                raise ConfigError(f'{name} must be above 0, got {getattr(self, name)}')
        for name in AT_LEAST_0:
            if getattr(self, name) < 0:
                raise ConfigError(f'{name} must be at least 0, got {getattr(self, name)}')
        if self.workers < -1:
            raise ConfigError(f'workers must be at least -1, got {self.workers}')
        for name in ('dropout', 'ema'):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f'{name} must be in [0, 1), got {getattr(self, name)}')
        for name in ('imitation', 'threshold'):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f'{name} must be in [0, 1], got {getattr(self, name)}')
        if not 0 < self.crop <= 1:
            raise ConfigError(f'crop must be above 0 and at most 1, got {self.crop}')
        if self.frozen_blocks > 5:
            raise ConfigError(f'frozen_blocks must be at most 5, got {self.frozen_blocks}')
        if self.folds and self.epochs % self.validate_every:
            raise ConfigError(
                'epochs must be a multiple of validate_every, so that the last one is validated; '
                f'got {self.epochs} and {self.validate_every}'
            )
        if self.folds == 1 or self.folds < 0 or not -1 <= self.fold < max(self.folds, 0):
            raise ConfigError(
                'folds must be 0 or at least 2, and fold in [-1, folds), got '
                f'{self.folds} and {self.fold}'
            )
        if self.seed >= 2**32:
            raise ConfigError(f'seed must be below 2**32, got {self.seed}')
        if self.width > 4:
            raise ConfigError(f'width must be at most 4, got {self.width}')
        augments = self.augmentation in MOVING_CAMERAS
        if (self.many_shapes or self.crop < 1) and not augments:
            allowed = ', '.join(MOVING_CAMERAS)
            raise ConfigError(f'many_shapes and crop need augmentation {allowed}')
        if self.augmentation == 'roads' and not self.many_shapes:
            raise ConfigError('augmentation roads needs many_shapes: only those are changed by it')
        if self.imitation and self.loss == 'sigmoid':
            raise ConfigError('imitation needs loss softmax; sigmoid doubles the log odds')
        if self.weight_decay and self.l2:
            raise ConfigError(
                'weight_decay (AdamW) and l2 (Adam) exclude each other; set one to 0'
            )


def read(path: str | Path, overrides: Sequence[str] = ()) -> TrainingConfig:
    """
    Read a YAML file of settings, then apply overrides of the form `key=value`.

    ConfigError names the setting that does not exist, has another type or is out of range.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding='utf-8')) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f'cannot read the configuration {path}: {error}') from error
    if not isinstance(values, dict):
        raise ConfigError(f'{path} must hold `key: value` lines')
    for override in overrides:
        key, equals, value = override.partition('=')
        if not equals:
            raise ConfigError(f'an override has the form key=value, got {override!r}')
        try:
            values[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f'{override!r} cannot be read: {error}') from error
    types = get_type_hints(TrainingConfig)
    return TrainingConfig(**{key: _typed(key, value, types) for key, value in values.items()})


def _typed(key: str, value: Any, types: dict[str, type]) -> Any:
    if key not in types:
        raise ConfigError(f'there is no setting {key!r}; there are {", ".join(sorted(types))}')
    wanted = types[key]
    if wanted is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML reads 1e-3 as a string
        except ValueError:
            pass
    elif type(value) is wanted:
        return value
    raise ConfigError(f'{key} must be of type {wanted.__name__}, got {value!r}')


def _one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ConfigError(f'{name} must be one of {", ".join(allowed)}, got {value!r}')
