"""
Read a rosbag2: its topics, and its messages as the bytes they were recorded as.

Nothing is decoded here, so that any message type will do.
"""

from __future__ import annotations

import contextlib
import heapq
import re
import struct
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

from road_seg_ros.graph_names import COMPRESSED_IMAGE, IMAGE

BAG_SUFFIXES = ('.mcap', '.db3')
GROUND_TRUTH_TOPIC = '/ground_truth/mask'  # mono8, with the values of `metrics.TRUTH`
IMAGE_TYPES = (IMAGE, COMPRESSED_IMAGE)
# What a road_seg_node makes of images.
ANSWER = re.compile(r'.*/road_seg/(mask|(class_)?confidence|overlay(/compressed)?)')


class BagError(ValueError):
    """A bag that cannot be read; names it and says why."""


@dataclass(frozen=True)
class Topic:
    """What a bag holds of one topic. Two are equal if name and type are."""

    name: str
    type: str  # 'sensor_msgs/msg/Image'
    count: int = field(compare=False)
    qos: tuple[Any, ...] = field(compare=False)  # what each publisher offered, rosbags' Qos
    definition: str = field(compare=False)  # of the type, as text; '' where the bag lacks it
    digest: str = field(compare=False)  # of the type, RIHS01; '' where the bag lacks it

    def __str__(self) -> str:
        return f'{self.name} ({self.type})'


def bag_files(folder: Path) -> list[Path]:
    """Return the files of a folder that may be a rosbag2's."""
    files = (path for path in folder.iterdir() if path.suffix.lower() in BAG_SUFFIXES)
    return sorted(path for path in files if not path.is_dir())


def find_camera(topics: Iterable[Topic]) -> Topic | None:
    """
    Return the topic of a camera, the one with most images; None without any image.

    Ground truth, and what a road_seg_node made of images, are cameras only if nothing else is.
    """

    def rank(topic: Topic) -> tuple[bool, int]:
        return topic.name != GROUND_TRUTH_TOPIC and not ANSWER.fullmatch(topic.name), topic.count

    return max((topic for topic in topics if topic.type in IMAGE_TYPES), key=rank, default=None)


class Bag:
    """
    A rosbag2 folder, or one of its .mcap or .db3 files, opened for reading.

    BagError says what is wrong with it; while reading, `messages` raises it too.
    """

    def __init__(self, source: str | Path) -> None:
        try:
            self.path = Path(source).expanduser()
        except RuntimeError as error:  # no such user
            raise BagError(f'{source}: {error}') from error
        if not self.path.exists():
            raise BagError(f'{source} does not exist')
        try:
            from rosbags.rosbag2 import Reader
        except ImportError as error:
            raise BagError(
                f'reading {source} needs the package rosbags: pip install rosbags'
            ) from error
        # Files that were copied without their metadata.yaml can be read all the same.
        paths = [self.path]
        if self.path.is_dir() and not (self.path / 'metadata.yaml').is_file():
            paths = bag_files(self.path)
            if not paths:
                raise BagError(f'{source} is not a rosbag2: it holds no {", ".join(BAG_SUFFIXES)}')
        self._stack = contextlib.ExitStack()
        try:
            self._readers = [self._stack.enter_context(Reader(path)) for path in paths]
            self._connections = [c for reader in self._readers for c in reader.connections]
            self._topics = [_topic(connection) for connection in self._connections]
        except Exception as error:  # a damaged file makes the reader raise almost anything
            self.close()
            raise self._error(error) from error

    @property
    def topics(self) -> list[Topic]:
        """Return the topics by name; the counts of files and publishers are summed."""
        merged: dict[Topic, Topic] = {}
        for topic in self._topics:
            same = merged.get(topic)
            if same is not None:
                qos = tuple(same.qos) + tuple(q for q in topic.qos if q not in same.qos)
                topic = Topic(
                    topic.name, topic.type, same.count + topic.count, qos,
                    same.definition or topic.definition, same.digest or topic.digest,
                )  # fmt: skip
            merged[topic] = topic
        return sorted(merged.values(), key=lambda topic: (topic.name, topic.type))

    @property
    def start_ns(self) -> int:
        """Return the time of the first message, in ns since 1970."""
        return min(reader.start_time for reader in self._readers)

    @property
    def end_ns(self) -> int:
        """Return the time of the last message, in ns since 1970."""
        return max(reader.end_time for reader in self._readers) - 1

    def messages(
        self,
        topics: Collection[Topic],
        start_ns: int | None = None,
        stop_ns: int | None = None,
    ) -> Iterator[tuple[Topic, int, bytes]]:
        """
        Yield the messages of some topics in the order in which they were recorded.

        Each with its topic, the time it was recorded in ns since 1970, and its serialised bytes
        (CDR). start_ns: none before that time; stop_ns: none at or after it.
        """
        chosen = {
            id(connection): topic
            for connection, topic in zip(self._connections, self._topics, strict=True)
            if topic in topics
        }
        streams = []
        for reader in self._readers:
            wanted = [c for c in reader.connections if id(c) in chosen]
            if wanted:  # none would mean all
                streams.append(reader.messages(wanted, start_ns, stop_ns))
        try:
            for connection, time_ns, data in heapq.merge(*streams, key=itemgetter(1)):
                yield chosen[id(connection)], time_ns, bytes(data)
        except Exception as error:
            raise self._error(error) from error

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _error(self, error: Exception) -> BagError:
        return BagError(f'{self.path} cannot be read as a rosbag2: {error or repr(error)}')


def deserialize(data: bytes, message_type: type) -> Any:
    """Return the message that serialised bytes are. BagError if they are none of that type."""
    from rclpy.serialization import deserialize_message

    try:
        return deserialize_message(data, message_type)
    except Exception as error:  # rclpy's own differ between distributions
        kind = message_type.__name__
        raise BagError(f'{len(data)} bytes are not a message of type {kind}') from error


def header_stamp_ns(data: bytes) -> int:
    """
    Return the stamp, in ns, of a serialised message whose first field is a std_msgs/Header.

    BagError if the message is too short for one.
    """
    if len(data) < 12:
        raise BagError(f'a message of {len(data)} bytes has no stamp')
    order = '<' if data[1] & 1 else '>'  # CDR says it in its first four bytes
    seconds, nanoseconds = struct.unpack_from(f'{order}iI', data, 4)
    return seconds * 1_000_000_000 + nanoseconds


def _topic(connection: Any) -> Topic:
    return Topic(
        connection.topic,
        connection.msgtype,
        connection.msgcount,
        tuple(connection.ext.offered_qos_profiles),
        connection.msgdef.data,
        connection.digest,
    )
