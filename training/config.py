"""The settings of a training run, read from YAML and the command line."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import yaml

from road_seg_ros.architecture import HEADS
from road_seg_ros.checkpoint import InputSize

# Each of those that move the camera does what the one before it does, and more.
MOVING_CAMERAS = ('camera', 'weather', 'roads')
AUGMENTATIONS = ('none', 'flip_every_second', 'flip', *MOVING_CAMERAS)
BACKBONES = ('imagenet_features', 'imagenet_v1', 'random')


class ConfigError(ValueError):
    """A setting that does not exist or has a bad value; names it and says what is allowed."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """What a setting must be, in words and as a test of its value."""

    text: str
    holds: Callable[[Any], bool]


def one_of(*allowed: str) -> Rule:
    """Return the rule of a choice."""
    return Rule(f'one of {", ".join(allowed)}', lambda value: value in allowed)


ABOVE_0 = Rule('above 0', lambda value: value > 0)
AT_LEAST_0 = Rule('at least 0', lambda value: value >= 0)
AT_LEAST_1 = Rule('at least 1', lambda value: value >= 1)
SHARE = Rule('in [0, 1]', lambda value: 0 <= value <= 1)
BELOW_1 = Rule('in [0, 1)', lambda value: 0 <= value < 1)

Count = Annotated[int, AT_LEAST_1]
Positive = Annotated[float, ABOVE_0]
NotNegative = Annotated[float, AT_LEAST_0]
Share = Annotated[float, SHARE]


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """One run. The defaults are no recipe; see training/configs."""

    # Network
    width: Annotated[float, Rule('above 0 and at most 4', lambda value: 0 < value <= 4)] = 1.0
    head: Annotated[str, one_of(*HEADS)] = 'fc4096'
    dropout: Annotated[float, BELOW_1] = 0.5  # probability of dropping
    # Which weights VGG starts from, in --backbone too.
    backbone: Annotated[str, one_of(*BACKBONES)] = 'imagenet_features'
    init_std: NotNegative = 0.01  # normal start of layers 6, 7 and of the score layers
    skip_std: NotNegative = 0.01  # normal start of the pool3 and pool4 scores

    # Input
    input_height: Count = 160
    input_width: Count = 576
    keep_aspect_ratio: bool = True  # False: every image is stretched to exactly that size

    # Data
    folds: int = 0  # the images are split into this many folds; 0 validates on none
    fold: int = -1  # the one to validate on; -1 is all of them in turn: cross-validation
    synthetic: Annotated[int, AT_LEAST_0] = 0  # synthetic scenes added to every epoch
    # Where no camera moves, images are stretched to the input.
    augmentation: Annotated[str, one_of(*AUGMENTATIONS)] = 'weather'
    many_shapes: bool = False  # half of the batches are cut for other cameras' aspect ratios
    # Share of the input's pixels that an augmented image has.
    crop: Annotated[float, Rule('above 0 and at most 1', lambda value: 0 < value <= 1)] = 1.0

    # Loss
    # Cross entropy of both classes together, or one sigmoid each: the log odds are then twice as
    # large, which the temperature of the validation mends.
    loss: Annotated[str, one_of('softmax', 'sigmoid')] = 'softmax'
    boundary: NotNegative = 0.0  # extra weight of pixels near the road's edge
    lovasz: NotNegative = 0.0  # weight of the Lovasz hinge
    imitation: Share = 0.0  # share of the loss that follows the --teacher, not the labels
    imitation_temperature: Positive = 2.0

    # Optimisation
    epochs: Count = 50
    batch_size: Count = 15
    lr: Positive = 1e-3
    backbone_lr: Positive = 1e-3
    weight_decay: NotNegative = 0.0  # decoupled (AdamW), on every kernel
    l2: NotNegative = 0.0  # times half the squared kernels of scores and upsampling (Adam)
    schedule: Annotated[str, one_of('constant', 'poly')] = 'poly'
    warmup_epochs: NotNegative = 0.0
    # The last share of the epochs has the labelled images alone, in the input's own shape; the
    # average of the weights before and after it is kept. 0: no fine-tuning.
    fine_tuning: Annotated[float, BELOW_1] = 0.0
    # Of VGG's five, those that keep their start weights.
    frozen_blocks: Annotated[int, Rule('from 0 to 5', lambda value: 0 <= value <= 5)] = 0
    # Decay per step of the exponential moving average that is kept; 0: none.
    ema: Annotated[float, BELOW_1] = 0.0

    # Where nothing validates, what cross-validation found
    threshold: Share = 0.5
    temperature: Positive = 1.0

    # Run
    seed: Annotated[int, Rule('from 0 to 2**32 - 1', lambda value: 0 <= value < 2**32)] = 0
    precision: Annotated[str, one_of('32-true', 'bf16-mixed', '16-mixed')] = 'bf16-mixed'
    # Processes that prepare images; -1: one for every core but one.
    workers: Annotated[int, Rule('from -1 to 256', lambda value: -1 <= value <= 256)] = -1
    validate_every: Count = 1  # epochs
    checkpoint_every: Count = 1  # epochs; --resume goes on from the last

    @property
    def input_size(self) -> InputSize:
        """What the model file says of its input."""
        return InputSize(self.input_height, self.input_width, self.keep_aspect_ratio)

    @property
    def stages(self) -> tuple[TrainingConfig, ...]:
        """
        The runs that this one consists of: one, or two where the last epochs are fine-tuning.

        Each has a schedule of its own, and is validated after its last epoch.
        """
        last = min(round(self.fine_tuning * self.epochs), self.epochs - 1)
        if last == 0:
            return (self,)

        def part(epochs: int, **changes: Any) -> TrainingConfig:
            every = math.gcd(epochs, self.validate_every)
            return dataclasses.replace(
                self, epochs=epochs, validate_every=every, fine_tuning=0.0, **changes
            )

        looks = 'weather' if self.augmentation == 'roads' else self.augmentation
        return (
            part(self.epochs - last),
            part(last, synthetic=0, many_shapes=False, augmentation=looks),
        )

    @property
    def validation_folds(self) -> Sequence[int]:
        """The folds that validate, one after the other."""
        if not self.folds:
            return ()
        return range(self.folds) if self.fold < 0 else (self.fold,)

    def require_same_as(self, before: Mapping[str, Any]) -> None:
        """
        Refuse to go on with a run under other settings: they would be true of neither part.

        before: the settings of that run; one that did not exist then had its default. ConfigError
        names the first that differs.
        """
        for field in dataclasses.fields(self):
            now = getattr(self, field.name)
            then = before.get(field.name, field.default)
            if now != then and field.name != 'workers':
                raise ConfigError(
                    f'--resume goes on with the settings of the run; {field.name} was {then!r} '
                    f'and is {now!r} now'
                )

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(TrainingConfig, include_extras=True).items():
            value = getattr(self, name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ConfigError(f'{name} must be finite, got {value}')
            for rule in getattr(kind, '__metadata__', ()):
                if not rule.holds(value):
                    raise ConfigError(f'{name} must be {rule.text}, got {value!r}')
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


class _Loader(yaml.SafeLoader):
    """YAML whose keys are each there once; yaml's own takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            for key in keys:
                if keys.count(key) > 1:
                    raise ConfigError(f'{key} is there {keys.count(key)} times')
        return super().construct_mapping(node, deep)


def read(path: str | Path, overrides: Sequence[str] = ()) -> TrainingConfig:
    """
    Read a YAML file of settings, then apply overrides of the form `key=value`.

    ConfigError names the setting that does not exist, has another type or is out of range.
    """
    try:
        values = _Loader(Path(path).read_text(encoding='utf-8')).get_single_data()
    except (OSError, ValueError, TypeError, LookupError, yaml.YAMLError) as error:
        raise ConfigError(f'cannot read the configuration {path}: {error}') from error
    if not isinstance(values, dict) or not values:
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
