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
from road_seg_ros.graph_names import CAMERA_INPUT, node_of
from road_seg_ros.image_msgs import compressed_to_bgr, image_to_bgr

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

if TYPE_CHECKING:  # in another module after Kilted
    from rclpy.topic_endpoint_info import TopicEndpointInfo

NAME_UNKNOWN = '_NODE_NAME_UNKNOWN_'  # as rmw has it


class ImageInput:
    """
    Subscribes to a camera; `callback` gets every message, once, and how many it missed before.

    transport: raw or compressed. reliability: auto, reliable or best_effort. `match_publishers`
    must be called now and then: with auto it follows the publishers, else it warns of a conflict.

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
            topic = f'{node.resolve_topic_name(CAMERA_INPUT)}/compressed'
        else:
            self._to_bgr = partial(image_to_bgr, convert=choose_conversion(node.get_logger()))
        self._count = 0  # of subscriptions made; the newest has this number
        self._predecessor: Any = None
        self._taken_over = False  # by the newest, from its predecessor
        self._last_stamp: Any = None
        self._last_publisher: Any = None
        self._last_number: int | None = None  # as that publisher counts
        self._conflict = False  # with a publisher, which is still to be told
        self._name = topic  # the remapping rules are applied to it, and only once
        self._subscription = self._subscribe(matching_reliability(reliability, ()))
        self.topic: str = self._subscription.topic_name

    def to_bgr(self, message: Image | CompressedImage) -> np.ndarray:
        """Return the pixels of a message, uint8 (H, W, 3) BGR. ImageError if it is malformed."""
        return self._to_bgr(message)

    def match_publishers(self) -> None:
        """Subscribe anew if the publishers ask for another reliability, or warn of a conflict."""
        if self._conflict and self._names_known():
            self._conflict = False
            self._node.get_logger().warning(self.why_silent())
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
        return why_silent(
            self.topic,
            self._publishers(),
            self._type_name,
            self._subscription.qos_profile.reliability,
        )

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
        repeated = first and stamp == self._last_stamp and (stamp.sec or stamp.nanosec)
        self._last_stamp = stamp
        missed = self._missed(info)
        if not repeated:  # the predecessor brought it too
            self._callback(message, missed)

    def _missed(self, info: Mapping[str, Any]) -> int:
        """
        Return how many messages the publisher has sent between its last one here and this one.

        They were overtaken before they could be taken, or lost on the way. 0 if the last one was
        another publisher's, and where no number or publisher is told (before Kilted).
        """
        last, self._last_number = self._last_number, info.get('publication_sequence_number')
        publisher, self._last_publisher = self._last_publisher, info.get('publisher_gid')
        if None in (last, self._last_number, publisher) or publisher != self._last_publisher:
            return 0
        return max(0, self._last_number - last - 1)

    def _on_incompatible(self, _: Any) -> None:
        if self._setting == 'auto':
            self.match_publishers()
        else:
            self._conflict = True  # told once the publisher's name is known

    def _destroy_predecessor(self) -> None:
        if self._predecessor is not None:
            self._node.destroy_subscription(self._predecessor)
            self._predecessor = None

    def _names_known(self) -> bool:
        """Whether discovery has brought the node of every publisher; it comes a little later."""
        names = [publisher.node_name for publisher in self._publishers()]
        return bool(names) and NAME_UNKNOWN not in names

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
        # At once, rather than when the timer comes round, and without rclpy's alarm in the log.
        events = SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible)
        create = partial(self._node.create_subscription, self._type, self._name, callback, qos)
        try:
            return create(event_callbacks=events)
        except UnsupportedEventTypeError:  # by this middleware
            return create()


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
        name = node_of(publisher)
        if publisher.topic_type != type_name:
            return f'{name} publishes {topic} as {publisher.topic_type}, not {type_name}'
        offered = publisher.qos_profile.reliability
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
