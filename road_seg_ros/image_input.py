"""The camera subscription, with a reliability that suits every publisher of its topic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from road_seg_ros.conversion import choose_conversion
from road_seg_ros.graph_names import CAMERA_INPUT, COMPRESSED_IMAGE, node_of
from road_seg_ros.image_msgs import compressed_to_bgr, image_to_bgr

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

if TYPE_CHECKING:  # in another module after Kilted
    from rclpy.topic_endpoint_info import TopicEndpointInfo

COMPRESSED = '/compressed'  # what image_transport adds to a topic


class ImageInput:
    """
    Subscribes to a camera; `callback` gets every message, once, and how many it missed before.

    transport: raw or compressed. reliability: auto, reliable or best_effort; with auto
    `match_publishers` follows the publishers, and must be called now and then.

    A subscription cannot change its reliability, so another one takes over: the predecessor goes
    on until the successor has its first message, and nothing is lost between them.
    """

    def __init__(
        self,
        node: LifecycleNode,
        transport: str,
        reliability: str,
        callback: Callable[[Any, int], None],
    ) -> None:
        self._node = node
        self._setting = reliability
        self._callback = callback
        self._compressed = transport == 'compressed'
        self._type = CompressedImage if self._compressed else Image
        self._type_name = f'sensor_msgs/msg/{self._type.__name__}'
        topic = CAMERA_INPUT
        if self._compressed:
            self._to_bgr = compressed_to_bgr
            # Of a remapped camera too.
            topic = node.resolve_topic_name(CAMERA_INPUT) + COMPRESSED
        else:
            self._to_bgr = partial(image_to_bgr, convert=choose_conversion(node.get_logger()))
        self._count = 0  # of subscriptions made; the newest has this number
        self._predecessor: Any = None
        self._taken_over = False  # by the newest, from its predecessor
        self._last_stamp: Any = None
        self._last_publisher: Any = None
        self._last_number: int | None = None  # as that publisher counts
        self._name = topic  # the remapping rules are applied to it, and only once
        self._subscription = self._subscribe(matching_reliability(reliability, ()))
        self.topic: str = self._subscription.topic_name
        # The same images by the other transport.
        self._twin = (
            self.topic.removesuffix(COMPRESSED) if self._compressed else self.topic + COMPRESSED
        )

    def to_bgr(self, message: Image | CompressedImage) -> np.ndarray:
        """Return the pixels of a message, uint8 (H, W, 3) BGR. ImageError if it is malformed."""
        return self._to_bgr(message)

    def match_publishers(self) -> None:
        """Subscribe anew if the publishers ask for another reliability."""
        if self._taken_over:
            self._destroy_predecessor()
        publishers = [p for p in self._publishers() if p.topic_type == self._type_name]
        wanted = matching_reliability(self._setting, publishers)
        # With nobody there the last answer stays: a camera that restarts finds it right.
        if not publishers or wanted == self._subscription.qos_profile.reliability:
            return
        self._node.get_logger().info(
            f'{self.topic}: subscribing {wanted.name.lower()} to match its publishers'
        )
        self._destroy_predecessor()  # if even that one is still waiting
        self._predecessor = self._subscription
        self._taken_over = False
        self._subscription = self._subscribe(wanted)

    def why_silent(self) -> str:
        """Return why no image may arrive and what to do, as far as the ROS graph tells."""
        publishers = self._publishers()
        if not publishers and self._node.count_publishers(self._twin):
            other = 'raw' if self._compressed else 'compressed'
            return (
                f'nobody publishes {self.topic}, but {self._twin} is there: set input_transport '
                f'to {other}'
            )
        reliability = self._subscription.qos_profile.reliability
        return why_silent(self.topic, publishers, self._type_name, reliability)

    def close(self) -> None:
        """End the subscription."""
        self._destroy_predecessor()
        self._node.destroy_subscription(self._subscription)

    def _on_message(self, number: int, message: Any, info: Mapping[str, Any]) -> None:
        newest, stamp = number == self._count, message.header.stamp
        if self._taken_over and not newest:
            return
        first = newest and not self._taken_over
        self._taken_over |= newest
        sent = self._sent_since(info)
        if sent is None:
            repeated = stamp == self._last_stamp and (stamp.sec or stamp.nanosec)
        else:
            repeated = sent <= 0
        self._last_stamp = stamp
        if not (first and repeated):  # the predecessor brought it too
            self._callback(message, max(0, (sent or 0) - 1))

    def _sent_since(self, info: Mapping[str, Any]) -> int | None:
        """
        Return how many messages the publisher has sent after its last one here, with this one.

        Those before this one were overtaken before they could be taken, or lost on the way. None
        if the last one was another publisher's, and where no number or publisher is told (before
        Kilted).
        """
        last, self._last_number = self._last_number, info.get('publication_sequence_number')
        publisher, self._last_publisher = self._last_publisher, info.get('publisher_gid')
        if None in (last, self._last_number, publisher) or publisher != self._last_publisher:
            return None
        return self._last_number - last

    def _destroy_predecessor(self) -> None:
        if self._predecessor is not None:
            self._node.destroy_subscription(self._predecessor)
            self._predecessor = None

    def _publishers(self) -> Sequence[TopicEndpointInfo]:
        return self._node.get_publishers_info_by_topic(self._name)

    def _subscribe(self, reliability: ReliabilityPolicy) -> Any:
        qos = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=1,
            durability=DurabilityPolicy.VOLATILE,
            reliability=reliability,
        )
        self._count += 1
        callback = partial(self._on_message, self._count)
        if not hasattr(Subscription, 'CallbackType'):  # Humble gives the message alone
            callback = partial(self._on_message, self._count, info={})
        # No events, that of a QoS conflict either: rclpy does not guard them against their end in
        # another thread of an executor, which would end that executor.
        events = SubscriptionEventCallbacks(use_default_callbacks=False)
        return self._node.create_subscription(
            self._type, self._name, callback, qos, event_callbacks=events
        )


def matching_reliability(
    setting: str, publishers: Sequence[TopicEndpointInfo]
) -> ReliabilityPolicy:
    """
    Return the reliability to subscribe with.

    setting: auto, reliable or best_effort. With auto: reliable when every publisher offers it,
    best effort as soon as one does not; so no publisher is ever incompatible, and no image is
    lost without need.
    """
    if setting == 'auto':
        lossy = any(p.qos_profile.reliability != ReliabilityPolicy.RELIABLE for p in publishers)
        setting = 'best_effort' if lossy else 'reliable'
    return (
        ReliabilityPolicy.BEST_EFFORT if setting == 'best_effort' else ReliabilityPolicy.RELIABLE
    )


def why_silent(
    topic: str,
    publishers: Sequence[TopicEndpointInfo],
    type_name: str,
    reliability: ReliabilityPolicy,
) -> str:
    """Return why nothing may arrive on a topic, and what to do about it."""
    if not publishers:
        return (
            f'nobody publishes {topic}; start the camera, or remap {CAMERA_INPUT} (image_topic in '
            'the launch file) to its topic'
        )
    for publisher in publishers:
        name, offered = node_of(publisher), publisher.qos_profile.reliability
        if publisher.topic_type != type_name:
            reason = f'{name} publishes {topic} as {publisher.topic_type}'
            if publisher.topic_type == COMPRESSED_IMAGE:
                return (
                    f'{reason}: set input_transport to compressed, and leave {COMPRESSED} out of '
                    "the topic's name"
                )
            return f'{reason}, not {type_name}'
        if reliability == ReliabilityPolicy.RELIABLE and offered != ReliabilityPolicy.RELIABLE:
            return (
                f'QoS conflict: {name} offers {topic} best effort, this node asks for reliable; '
                'set input_reliability to auto or best_effort'
            )
    return (
        f'{topic} has {len(publishers)} publisher(s) but nothing arrives; is the camera running? '
        'Large best-effort images vanish on default transports: start the camera with the '
        'profile config/fastdds.xml'
    )
