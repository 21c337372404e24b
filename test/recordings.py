"""Bags for tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.interfaces import Qos, QosDurability, QosReliability
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from road_seg_ros.bags.camera_bag import OFFERED

CAMERA = '/camera/image_raw'
IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
STRING = 'std_msgs/msg/String'
STRANGE = 'nowhere_msgs/msg/Strange'  # not installed
BEGIN_NS = 1_317_000_000_123_456_789
STORE = get_typestore(Stores.LATEST)
STORE.register(get_types_from_msg('int32 number', STRANGE))
_TYPES = STORE.types

# Topic, type, time from the begin in ns, message.
Record = tuple[str, str, int, Any]


def write_bag(
    path: Path,
    records: Iterable[Record],
    qos: dict[str, Sequence[Qos]] | None = None,
    plugin: StoragePlugin = StoragePlugin.MCAP,
) -> Path:
    """Write messages to a new bag and return its path."""
    connections: dict[str, Any] = {}
    with Writer(path, version=8, storage_plugin=plugin) as writer:
        for topic, kind, time_ns, message in records:
            if topic not in connections:
                connections[topic] = writer.add_connection(
                    topic, kind, typestore=STORE, offered_qos_profiles=(qos or {}).get(topic, ())
                )
            data = STORE.serialize_cdr(message, kind)
            writer.write(connections[topic], BEGIN_NS + time_ns, data)
    return path


def qos(
    reliability: str = 'reliable', durability: str = 'volatile', depth: int = 5, **changes: Any
) -> Qos:
    """Return what a publisher offered."""
    return OFFERED._replace(
        depth=depth,
        reliability=QosReliability[reliability.upper()],
        durability=QosDurability[durability.upper()],
        **changes,
    )


def text(topic: str, time_ns: int, words: str) -> Record:
    """Return a record of a String."""
    return topic, STRING, time_ns, _TYPES[STRING](words)


def image(
    pixels: np.ndarray, time_ns: int, topic: str = CAMERA, stamp_ns: int | None = None
) -> Record:
    """Return a record of an Image, bgr8 or mono8, stamped with its time unless told otherwise."""
    height, width = pixels.shape[:2]
    encoding = 'mono8' if pixels.ndim == 2 else 'bgr8'
    header = _header(time_ns if stamp_ns is None else stamp_ns)
    message = _TYPES[IMAGE](
        header, height, width, encoding, 0, pixels.nbytes // height, pixels.ravel()
    )
    return topic, IMAGE, time_ns, message


def compressed(pixels: np.ndarray, time_ns: int, topic: str = f'{CAMERA}/compressed') -> Record:
    """Return a record of a CompressedImage, png."""
    data = cv2.imencode('.png', pixels)[1].ravel()
    return topic, COMPRESSED, time_ns, _TYPES[COMPRESSED](_header(time_ns), 'png', data)


def strange(topic: str, time_ns: int) -> Record:
    """Return a record of a type that is not installed."""
    return topic, STRANGE, time_ns, _TYPES[STRANGE](7)


def stamps(messages: Iterable[Any]) -> list[int]:
    """Return the stamps of messages, in ns from the begin of their bag."""
    found = (m.header.stamp for m in messages)
    return [s.sec * 1_000_000_000 + s.nanosec - BEGIN_NS for s in found]


def _header(time_ns: int) -> Any:
    seconds, nanoseconds = divmod(BEGIN_NS + time_ns, 1_000_000_000)
    time = _TYPES['builtin_interfaces/msg/Time'](seconds, nanoseconds)
    return _TYPES['std_msgs/msg/Header'](time, 'camera')
