"""A new bag of what is played and what the node makes of it, with a video of the overlay."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import Image

from road_seg_ros.bags.player import NS, Message, mean_period_ns
from road_seg_ros.bags.reading import (
    IMAGE_TYPES,
    Bag,
    BagError,
    Topic,
    deserialize,
    header_stamp_ns,
)
from road_seg_ros.bags.recorder import VIDEO, RecorderError, Video
from road_seg_ros.graph_names import IMAGE, node_of
from road_seg_ros.image_msgs import image_to_bgr
from road_seg_ros.node_client import NodeClient
from road_seg_ros.stop import Stop

OUTPUTS = ('mask', 'overlay')
QUEUED = 32  # messages; a disk that is slower than that slows the playing down
STAMPS_KEPT = 1000  # of the images sent; a mask that comes later than that is left out
ANSWER_TIMEOUT_S = 5.0  # for the last results


class ResultBag:
    """
    Records what is played, and the mask and overlay of a running road_seg_node, to `out`.

    A result gets the time of its image, so that both are played back together. out: must not
    exist; what stands there is no bag before `close`. RecorderError says what cannot be written.
    """

    def __init__(self, node: Node, out: Path, bag: Bag, topics: list[Topic], name: str) -> None:
        self.client = NodeClient(node, name)
        self.results = dict.fromkeys(OUTPUTS, 0)
        self._node = node
        self._out = out
        self.images = 0  # sent to road_seg_node
        self._times: dict[int, int] = {}  # stamp of an image -> its time in the bag, ns
        self._listening: dict[Topic, bool] = {}
        self._items: queue.Queue[Callable[[], None] | None] = queue.Queue(QUEUED)
        self._error: Exception | None = None
        self._last_result = time.monotonic()
        try:
            self._open(topics)
        except Exception as error:  # a bag may hold what its writer did not expect
            raise RecorderError(f'cannot write {out.name}: {error}') from error
        self._bag = bag
        self._image_topics = [topic for topic in topics if topic.type in IMAGE_TYPES]
        self._video: Video | None = None  # until its rate is known
        for output in OUTPUTS:
            self.client.listen(output, self._receiver(output), raw=True)
        self._thread = threading.Thread(target=self._run, name='result bag')
        self._thread.start()

    def played(self, message: Message) -> None:
        """Record a message that is about to be published. RecorderError once one was not."""
        if self._error is not None:
            raise self._recorder_error()
        topic, time_ns, data = message.topic, message.time_ns, message.data
        if topic.type in IMAGE_TYPES:
            if len(self._times) >= STAMPS_KEPT:
                del self._times[next(iter(self._times))]
            with contextlib.suppress(BagError):  # the node will reject it
                self._times[header_stamp_ns(data)] = time_ns
            self.images += self._is_camera(topic)
        self._items.put(lambda: self._writer.write(self._connections[topic], time_ns, data))

    def wait_for_results(self, stop: Stop) -> None:
        """Wait until everything that the node took has come back, or nothing comes any more."""
        self._last_result = time.monotonic()
        while not stop.wait(0.05):
            expected = self.images - self.client.lost
            if min(self.results.values()) >= expected:
                return
            if time.monotonic() - self._last_result > ANSWER_TIMEOUT_S:
                return

    def close(self) -> None:
        """Complete the bag and the video."""
        self._end_thread()
        if self._error is not None:
            raise self._recorder_error()
        try:
            self._writer.close()
        except OSError as error:
            self._error = error
            raise self._recorder_error() from error

    def abort(self) -> None:
        """End without completing anything."""
        self._end_thread()
        self._writer.abort()

    def _open(self, topics: list[Topic]) -> None:
        from rosbags.rosbag2 import Writer

        from road_seg_ros.bags.camera_bag import METADATA_VERSION, OFFERED, STORAGE

        names = {output: f'{self.client.name}/{output}' for output in OUTPUTS}
        for topic in topics:
            if topic.name in names.values():
                raise ValueError(f'the bag has a topic {topic.name} already; leave it out')
        image = next((topic for topic in topics if topic.type == IMAGE), None)
        definition, digest = (image.definition, image.digest) if image else ('', '')
        self._result_topics = {
            output: Topic(name, IMAGE, 0, (OFFERED,), definition, digest)
            for output, name in names.items()
        }
        self._writer = Writer(self._out, version=METADATA_VERSION, storage_plugin=STORAGE['mcap'])
        self._writer.open()
        everything = [*topics, *self._result_topics.values()]
        self._connections = {topic: self._connect(topic) for topic in everything}

    def _connect(self, topic: Topic) -> Any:
        from rosbags.typesys import Stores, get_types_from_msg, get_typestore

        arguments: dict[str, Any] = {'offered_qos_profiles': topic.qos}
        if topic.definition and topic.digest:
            arguments |= {'msgdef': topic.definition, 'rihs01': topic.digest}
        else:
            store = get_typestore(Stores.LATEST)
            if topic.type not in store.types:
                if not topic.definition:
                    raise ValueError(f'the bag lacks the definition of {topic}; leave it out')
                store.register(get_types_from_msg(topic.definition, topic.type))
            arguments['typestore'] = store
        return self._writer.add_connection(topic.name, topic.type, **arguments)

    def _receiver(self, output: str) -> Callable[[bytes], None]:
        connection = self._connections[self._result_topics[output]]

        def receive(data: bytes) -> None:
            time_ns = self._times.get(header_stamp_ns(data))
            if time_ns is None:  # not of an image that was played
                return
            self._last_result = time.monotonic()
            self._items.put(lambda: self._write_result(output, connection, time_ns, data))
            self.results[output] += 1

        return receive

    def _write_result(self, output: str, connection: Any, time_ns: int, data: bytes) -> None:
        self._writer.write(connection, time_ns, data)
        if output == 'overlay':
            if self._video is None:
                cameras = [topic for topic in self._image_topics if self._listening.get(topic)]
                period_ns = mean_period_ns(self._bag, cameras or self._image_topics) or NS // 10
                self._video = Video(self._out / VIDEO, NS / period_ns)
            self._video.add(image_to_bgr(deserialize(data, Image)))

    def _is_camera(self, topic: Topic) -> bool:
        """Whether the road_seg_node listens to a topic."""
        if topic not in self._listening:
            published = self._node.resolve_topic_name(topic.name)
            infos = self._node.get_subscriptions_info_by_topic(published)
            self._listening[topic] = self.client.name in map(node_of, infos)
        return self._listening[topic]

    def _run(self) -> None:
        while (write := self._items.get()) is not None:
            try:
                if self._error is None:
                    write()
            except Exception as error:  # raised by the next call, in the caller's thread
                self._error = error

    def _end_thread(self) -> None:
        """End it, and the video that it writes."""
        self._items.put(None)
        self._thread.join()
        if self._video is not None:
            self._video.close()

    def _recorder_error(self) -> RecorderError:
        return RecorderError(f'cannot write {self._out.name}: {self._error}')
