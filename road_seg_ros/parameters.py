"""Every parameter of the node: name, default, range, description and when it takes effect."""

from __future__ import annotations

import array
import dataclasses
import difflib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter

from road_seg_ros.engines import ENGINES, PRECISIONS

LARGEST = 1e9  # stands for "no upper limit" in a range

LIVE, ON_CONFIGURE, AT_START = 'live', 'on configure', 'at start'


class ParameterError(ValueError):
    """A parameter that was given a value it may not have; says which and what it may."""


@dataclass(frozen=True)
class Declaration:
    """One parameter. `check` tells whether a value of the default's type is allowed."""

    name: str
    default: Any
    rule: str  # the values allowed, for people
    effect: str  # LIVE, ON_CONFIGURE or AT_START
    description: str
    check: Callable[[Any], bool] = lambda value: True
    bounds: tuple[float, float] | None = None

    def allows(self, value: Any) -> bool:
        """Whether the value has the right type and range; an integer may stand for a double."""
        kind = type(self.default)
        if kind is list:
            return isinstance(value, tuple) and self.check(value)
        right_type = type(value) is kind or (kind is float and type(value) is int)
        return right_type and self.check(value)

    def descriptor(self) -> ParameterDescriptor:
        """Return what `ros2 param describe` shows."""
        descriptor = ParameterDescriptor(
            description=f'{self.description} Takes effect {self.effect}.',
            additional_constraints=self.rule,
            read_only=self.effect == AT_START,
            # Or rclpy refuses another type itself, without saying which parameter it was, and
            # `ros2 param set ... threshold 1` fails because 1 is not 1.0.
            dynamic_typing=True,
        )
        if self.bounds:
            low, high = self.bounds
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
        return descriptor


def _one_of(*allowed: str) -> dict[str, Any]:
    return {'rule': ', '.join(allowed), 'check': lambda value: value in allowed}


def _is_device(value: str) -> bool:
    kind, colon, index = value.partition(':')
    return value in ('auto', 'cpu', 'cuda') or (kind == 'cuda' and index.isdecimal())


DECLARATIONS = (
    Declaration(
        'model_path', '', 'a path, package://road_seg_ros/..., or empty', ON_CONFIGURE,
        'Model file; empty for the one that ships with the package.',
    ),
    Declaration(
        'device', 'auto', 'auto, cpu, cuda, cuda:N', ON_CONFIGURE,
        'Where the network runs; auto is cuda if there is a GPU.', _is_device,
    ),
    Declaration(
        'engine', 'auto', effect=ON_CONFIGURE,
        description='What runs the network.', **_one_of(*ENGINES),
    ),
    Declaration(
        'precision', 'auto', effect=ON_CONFIGURE,
        description='Arithmetic of the network.', **_one_of(*PRECISIONS),
    ),
    Declaration(
        'threshold', -1.0, '-1 or 0..1', LIVE,
        'Road probability from which a pixel is drivable; -1 is the value stored in the model.',
        lambda value: value == -1.0 or 0.0 <= value <= 1.0, (-1.0, 1.0),
    ),
    Declaration(
        'overlay_alpha', 0.5, '0..1', LIVE,
        'Strength of the tint on the overlay.', lambda value: 0.0 <= value <= 1.0, (0.0, 1.0),
    ),
    Declaration(
        'overlay_color', [0, 255, 0], 'three of 0..255, RGB', LIVE,
        'Colour of the tint on the overlay.',
        lambda value: len(value) == 3 and all(
            type(channel) is int and 0 <= channel <= 255 for channel in value
        ),
    ),
    Declaration(
        'input_transport', 'raw', effect=ON_CONFIGURE,
        description='Whether to subscribe to the image or to its compressed twin.',
        **_one_of('raw', 'compressed'),
    ),
    Declaration(
        'input_reliability', 'auto', effect=ON_CONFIGURE,
        description='QoS reliability of the subscription; auto matches the publishers.',
        **_one_of('auto', 'reliable', 'best_effort'),
    ),
    Declaration(
        'max_image_age', 0.0, '0 or more', LIVE,
        'Seconds after its stamp from which an image that has one is dropped; 0 for no limit.',
        lambda value: value >= 0.0, (0.0, LARGEST),
    ),
    Declaration(
        'no_image_timeout', 2.0, 'above 0', LIVE,
        'Seconds without an image after which the diagnostics say why.',
        lambda value: value > 0.0, (0.0, LARGEST),
    ),
    Declaration(
        'autostart', True, 'true, false', AT_START,
        'Configure and activate at start, without a lifecycle manager.',
    ),
)  # fmt: skip
BY_NAME = {declaration.name: declaration for declaration in DECLARATIONS}


@dataclass(frozen=True)
class Settings:
    """The values of all parameters at one moment."""

    model_path: str
    device: str
    engine: str
    precision: str
    threshold: float
    overlay_alpha: float
    overlay_color: tuple[int, int, int]
    input_transport: str
    input_reliability: str
    max_image_age: float
    no_image_timeout: float
    autostart: bool

    def changed(self, parameters: list[Parameter]) -> Settings:
        """Return the settings with some parameters changed; others are left out."""
        known = {p.name: _plain(p.value) for p in parameters if p.name in BY_NAME}
        return dataclasses.replace(self, **known)


def declare(node: Node) -> Settings:
    """
    Declare every parameter on the node, overrides applied, and return the values.

    ParameterError names a parameter whose override is not allowed.
    """
    values = {}
    for declaration in DECLARATIONS:
        try:
            parameter = node.declare_parameter(
                declaration.name, declaration.default, declaration.descriptor()
            )
        except ParameterException as error:  # out of the descriptor's range
            raise ParameterError(str(error)) from error
        if problem := broken_rule([parameter]):
            raise ParameterError(problem)
        values[parameter.name] = _plain(parameter.value)
    return Settings(**values)


def overview() -> str:
    """Return what the command line says of every parameter."""
    return '\n'.join(
        f'  {d.name} = {json.dumps(d.default)} ({d.rule})\n      {d.description}'
        for d in DECLARATIONS
    )


def misspelt(node: Node) -> dict[str, str]:
    """
    Return which parameters that were given at start, unknown here, resemble which known ones.

    What resembles none is another node's, from a file that nodes share. Call it after `declare`.
    """
    # rclpy has no public name for them, and ignores those that a node does not declare.
    given = getattr(node, '_parameter_overrides', {})
    unknown = [name for name in given if not node.has_parameter(name)]
    resembled = {
        name: difflib.get_close_matches(name, BY_NAME, n=1, cutoff=0.7) for name in unknown
    }
    return {name: matches[0] for name, matches in resembled.items() if matches}


def broken_rule(parameters: list[Parameter]) -> str:
    """Return `NAME must be RULE, got VALUE` of the first bad parameter, '' if all are good."""
    for parameter in parameters:
        declaration = BY_NAME.get(parameter.name)
        if declaration is None:
            continue
        value = _plain(parameter.value)
        if not declaration.allows(value):
            return f'{parameter.name} must be {declaration.rule}, got {_shown(value)}'
    return ''


def _plain(value: Any) -> Any:
    """Return a parameter's value with arrays as tuples."""
    return tuple(value) if isinstance(value, (list, tuple, array.array)) else value


def _shown(value: Any) -> str:
    return repr(list(value) if isinstance(value, tuple) else value)
