"""The QoS with which a bag is played: what was recorded, or what a file asks for instead."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from rclpy.duration import Duration
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    LivelinessPolicy,
    QoSProfile,
    ReliabilityPolicy,
)

from road_seg_ros.bags.reading import Topic

DEPTH = 10  # where nothing says another
FOREVER_S = 2**31 - 1  # from here a recorded time means none, whatever the middleware wrote
POLICIES = {
    'history': HistoryPolicy,
    'reliability': ReliabilityPolicy,
    'durability': DurabilityPolicy,
    'liveliness': LivelinessPolicy,
}
DURATIONS = ('deadline', 'lifespan', 'liveliness_lease_duration')
VAGUE = ('system_default', 'best_available')  # recorded, they say nothing


class QosError(ValueError):
    """A QoS file that cannot be used; names the value, the rule and the topic."""


def recorded_profile(topic: Topic) -> QoSProfile:
    """
    Return what the publishers of a topic offered when it was recorded.

    As in `ros2 bag play`: the default profile where that is unknown or they differed. The history
    is not theirs, but at least DEPTH: what is played fast must not overtake itself.
    """
    history = {'history': 'keep_last', 'depth': max([DEPTH, *(qos.depth for qos in topic.qos)])}
    offered = [{**_in_words(qos), **history} for qos in topic.qos]
    if not offered or any(qos != offered[0] for qos in offered):
        return QoSProfile(depth=DEPTH)
    known = {
        name: value
        for name, value in offered[0].items()
        if name not in POLICIES or value in _words(name) and value not in VAGUE
    }
    return _profile(known)


def read_overrides(path: str | Path) -> dict[str, QoSProfile]:
    """
    Read a file as for `ros2 bag play --qos-profile-overrides-path`: profiles by topic name.

    QosError says what is wrong with it.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding='utf-8')) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:  # of a date that is none, too
        reason = ' '.join(str(error).split())
        raise QosError(f'{path} cannot be read as a QoS file: {reason}') from error
    if not isinstance(content, dict):
        raise QosError(f'{path} must map topics to policies, like /camera: {{depth: 5}}')
    profiles = {}
    for topic, policies in content.items():
        try:
            if not isinstance(policies, dict):
                raise QosError(f'{policies!r} is no map of policies, like {{depth: 5}}')
            profiles[topic] = _profile(policies)
        except QosError as error:
            raise QosError(f'{path}, {topic}: {error}') from error
    return profiles


def _in_words(qos: Any) -> dict[str, Any]:
    """Return rosbags' Qos as a QoS file has it."""
    words = {}
    for name, value in qos._asdict().items():
        if name in DURATIONS:
            words[name] = value._asdict()
        else:
            words[name] = value.name.lower() if name in POLICIES else value
    return words


def _profile(policies: Mapping[str, Any]) -> QoSProfile:
    arguments = {'depth': DEPTH}
    for name, value in policies.items():
        if name in POLICIES:
            if value not in _words(name):
                raise QosError(f'{name} must be one of {", ".join(_words(name))}, not {value!r}')
            arguments[name] = POLICIES[name].get_from_short_key(value)
        elif name in DURATIONS:
            seconds, nanoseconds = _time(name, value)
            if 0 < seconds + nanoseconds and seconds < FOREVER_S:
                arguments[name] = Duration(seconds=seconds, nanoseconds=nanoseconds)
        elif name == 'depth':
            if type(value) is not int or not 0 <= value < 2**31:
                raise QosError(f'depth must be a whole number from 0 to 2**31 - 1, not {value!r}')
            arguments[name] = value
        elif name == 'avoid_ros_namespace_conventions':
            if not isinstance(value, bool):
                raise QosError(f'{name} must be true or false, not {value!r}')
            arguments[name] = value
        else:
            known = (*POLICIES, *DURATIONS, 'depth', 'avoid_ros_namespace_conventions')
            raise QosError(f'there is no policy {name!r}; there are {", ".join(known)}')
    return QoSProfile(**arguments)


def _words(policy: str) -> list[str]:
    return [word for word in POLICIES[policy].short_keys() if word != 'unknown']


def _time(name: str, value: Any) -> tuple[int, int]:
    if isinstance(value, dict):
        parts = value.get('sec'), value.get('nsec')
        if value.keys() == {'sec', 'nsec'} and all(
            type(p) is int and 0 <= p < 2**34 for p in parts
        ):
            return parts
    raise QosError(f'{name} must be like {{sec: 1, nsec: 0}}, not {value!r}')
