"""
One camera in a rosbag2: images, camera_info and ground truth. Written with rosbags, without ROS.

The metadata is of version 8: the QoS profiles in it are a string with numbers, which rosbag2 of
Humble, Jazzy and Kilted all understand. Version 9, which Jazzy and Kilted write themselves, has a
list with words, at which Humble fails with `bad conversion`.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from road_seg_ros.bags.reading import BAG_SUFFIXES, GROUND_TRUTH_TOPIC
from road_seg_ros.bags.whole_folder import OutputError
from road_seg_ros.kitti import NS
from road_seg_ros.pictures import Picture

FRAME_ID = 'camera'
METADATA_VERSION = 8
STORAGE = {'mcap': StoragePlugin.MCAP, 'sqlite3': StoragePlugin.SQLITE3}
# Of these messages, Humble's definitions are those of every later distribution.
STORE = get_typestore(Stores.ROS2_HUMBLE)
MAX_TOPIC_LENGTH = 247  # RMW_TOPIC_MAX_NAME_LENGTH
FOREVER = QosTime(9223372036, 854775807)  # RMW_DURATION_INFINITE, as rosbag2 records it
# What a camera driver offers by default; subscribers of either reliability match it.
OFFERED = Qos(
    history=QosHistory.KEEP_LAST,
    depth=10,
    reliability=QosReliability.RELIABLE,
    durability=QosDurability.VOLATILE,
    deadline=FOREVER,
    lifespan=FOREVER,
    liveliness=QosLiveliness.AUTOMATIC,
    liveliness_lease_duration=FOREVER,
    avoid_ros_namespace_conventions=False,
)


class CameraBag:
    """
    A rosbag2 folder in the making.

    path: must not exist; its last part names the file in it. storage: mcap or sqlite3. topic: of
    raw images; those with a format go to `topic`/compressed. OutputError says what went wrong.
    """

    def __init__(self, path: Path, storage: str, topic: str) -> None:
        self._writer = Writer(path, version=METADATA_VERSION, storage_plugin=STORAGE[storage])
        self._topic = topic
        self._connections: dict[str, Connection] = {}
        self.counts: dict[str, int] = {}  # messages by topic

    def __enter__(self) -> CameraBag:
        with _naming_errors():
            self._writer.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        with _naming_errors():
            self._writer.__exit__(*error)

    def write(self, stamp_ns: int, picture: Picture) -> None:
        """Write the messages of one image, all with its stamp. Stamps must go forward."""
        types = STORE.types
        time = types['builtin_interfaces/msg/Time'](*divmod(stamp_ns, NS))
        header = types['std_msgs/msg/Header'](time, FRAME_ID)
        if picture.calibration is not None:
            info = _camera_info(header, picture)
            self._write(camera_info_topic(self._topic), 'CameraInfo', stamp_ns, info)
        if picture.ground_truth is not None:
            mask = _image(header, picture.ground_truth, 'mono8')
            self._write(GROUND_TRUTH_TOPIC, 'Image', stamp_ns, mask)
        if picture.format:
            image = _type('CompressedImage')(header, picture.format, picture.data)
            self._write(f'{self._topic}/compressed', 'CompressedImage', stamp_ns, image)
        else:
            image = _image(header, picture.data, 'bgr8')
            self._write(self._topic, 'Image', stamp_ns, image)

    def _write(self, topic: str, kind: str, stamp_ns: int, message: Any) -> None:
        name = f'sensor_msgs/msg/{kind}'
        with _naming_errors():
            if topic not in self._connections:
                self._connections[topic] = self._writer.add_connection(
                    topic, name, typestore=STORE, offered_qos_profiles=[OFFERED]
                )
            data = STORE.serialize_cdr(message, name)
            self._writer.write(self._connections[topic], stamp_ns, data)
        self.counts[topic] = self.counts.get(topic, 0) + 1


def camera_info_topic(topic: str) -> str:
    """Return the topic beside an image topic where image_transport expects the camera_info."""
    return f'{topic.rpartition("/")[0]}/camera_info'


def broken_topic_rule(topic: str) -> str:
    """Return what is wrong with the topic of an image, or ''."""
    if not re.fullmatch(r'(/[A-Za-z_][A-Za-z0-9_]*)+', topic):
        return 'it must be like /camera/image_raw: a / before each part, letters, digits and _'
    if len(topic) > MAX_TOPIC_LENGTH - len('/compressed'):
        return f'it is longer than {MAX_TOPIC_LENGTH - len("/compressed")} characters'
    if topic in (camera_info_topic(topic), GROUND_TRUTH_TOPIC):
        return 'other messages are written there'
    return ''


def is_bag_folder(path: Path) -> bool:
    """Whether a folder holds a rosbag2 and nothing else, or nothing at all."""
    return path.is_dir() and all(
        entry.name == 'metadata.yaml' or entry.suffix.lower() in BAG_SUFFIXES
        for entry in path.iterdir()
    )


def _image(header: Any, pixels: np.ndarray, encoding: str) -> Any:
    height, width = pixels.shape[:2]
    data = np.ascontiguousarray(pixels).reshape(-1)
    return _type('Image')(header, height, width, encoding, 0, data.size // height, data)


def _camera_info(header: Any, picture: Picture) -> Any:
    calibration = picture.calibration
    d, k, r, p = map(np.array, (calibration.d, calibration.k, calibration.r, calibration.p))
    whole = _type('RegionOfInterest')(0, 0, 0, 0, False)
    return _type('CameraInfo')(
        header, picture.height, picture.width, 'plumb_bob', d, k, r, p, 0, 0, whole
    )


def _type(name: str) -> Any:
    return STORE.types[f'sensor_msgs/msg/{name}']


@contextlib.contextmanager
def _naming_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f'the bag cannot be written: {error.strerror}') from error
    except sqlite3.Error as error:
        raise OutputError(f'the bag cannot be written: {error}') from error
