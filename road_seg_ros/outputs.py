"""Everything the node publishes about an image."""

from __future__ import annotations

from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from road_seg_ros import image_msgs
from road_seg_ros.engines import Segmentation
from road_seg_ros.graph_names import node_of, other_publishers
from road_seg_ros.pixels import class_confidence

try:
    from rclpy.event_handler import PublisherEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks

NOT_DRIVABLE, DRIVABLE = 0, 255  # values of the mask

IMAGE_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
# rclpy does not guard them against their end in another thread of an executor.
NO_EVENTS = PublisherEventCallbacks(use_default_callbacks=False)
LATCHED_QOS = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


class Outputs:
    """The publishers of one camera's results."""

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._publishers: list[LifecyclePublisher] = []
        self._mask = self._create(Image, '~/mask', IMAGE_QOS)
        self._overlay = self._create(Image, '~/overlay', IMAGE_QOS)
        self._overlay_jpeg = self._create(CompressedImage, '~/overlay/compressed', IMAGE_QOS)
        self._confidence = self._create(Image, '~/confidence', IMAGE_QOS)
        self._class_confidence = self._create(Image, '~/class_confidence', IMAGE_QOS)
        self._label_info = None
        try:
            from vision_msgs.msg import LabelInfo
        except ImportError:
            reason = 'vision_msgs is not installed: no ~/label_info'
            node.get_logger().debug(reason, once=True)
        else:
            self._label_info = self._create(LabelInfo, '~/label_info', LATCHED_QOS)

    def _create(self, kind: type, topic: str, qos: QoSProfile) -> LifecyclePublisher:
        publisher = self._node.create_lifecycle_publisher(
            kind, topic, qos, event_callbacks=NO_EVENTS
        )
        self._publishers.append(publisher)
        return publisher

    def publish_label_info(self) -> None:
        """Say what the values of the mask mean, once the node is active."""
        if self._label_info is None:
            return
        from vision_msgs.msg import LabelInfo, VisionClass

        message = LabelInfo()
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.class_map = [
            VisionClass(class_id=NOT_DRIVABLE, class_name='not_drivable'),
            VisionClass(class_id=DRIVABLE, class_name='drivable'),
        ]
        self._label_info.publish(message)

    def rivals(self) -> list[str]:
        """Return the names of the other nodes that publish masks on the same topic."""
        return [node_of(publisher) for publisher in other_publishers(self._node, '~/mask')]

    def wants_confidence(self) -> bool:
        """Whether somebody subscribes to the confidence, of road or of the mask's class."""
        return _is_wanted(self._confidence) or _is_wanted(self._class_confidence)

    def wants_overlay(self) -> bool:
        """Whether somebody subscribes to the overlay, as it is or compressed."""
        return _is_wanted(self._overlay) or _is_wanted(self._overlay_jpeg)

    def publish(self, result: Segmentation, header: Header) -> None:
        """
        Publish the mask, and what else is in the result and somebody subscribes to.

        header: the camera message's, passed on unchanged. ImageError, after all others, if the
        overlay does not fit into a JPEG.
        """
        self._mask.publish(image_msgs.to_image(result.mask, 'mono8', header))
        if result.confidence is not None:
            if _is_wanted(self._confidence):
                self._confidence.publish(image_msgs.to_image(result.confidence, 'mono8', header))
            if _is_wanted(self._class_confidence):
                sure = class_confidence(result.confidence, result.mask)
                self._class_confidence.publish(image_msgs.to_image(sure, 'mono8', header))
        if result.overlay is not None:
            if _is_wanted(self._overlay):
                self._overlay.publish(image_msgs.to_image(result.overlay, 'bgr8', header))
            if _is_wanted(self._overlay_jpeg):
                self._overlay_jpeg.publish(image_msgs.to_jpeg(result.overlay, header))

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers:
            self._node.destroy_lifecycle_publisher(publisher)


def _is_wanted(publisher: LifecyclePublisher) -> bool:
    return publisher.get_subscription_count() > 0
