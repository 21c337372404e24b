"""Names on the ROS graph, and whoever stands there."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rclpy.node import Node

    # In another module after Kilted.
    from rclpy.topic_endpoint_info import TopicEndpointInfo

NODE_NAME = 'road_seg'
NODE = f'/{NODE_NAME}'  # with its namespace, where it has none of its own
CAMERA_INPUT = 'camera/image_raw'  # as the node subscribes to it, to be remapped
CAMERA_TOPIC = f'/{CAMERA_INPUT}'
IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'


def node_of(endpoint: TopicEndpointInfo) -> str:
    """Return the name, with its namespace, of the node that a publisher or subscription is of."""
    return f'{endpoint.node_namespace.rstrip("/")}/{endpoint.node_name}'


def other_publishers(node: Node, topic: str) -> list[TopicEndpointInfo]:
    """Return the publishers of a topic without the node's own, if it has one there."""
    publishers, own = node.get_publishers_info_by_topic(topic), node.get_fully_qualified_name()
    names = [node_of(publisher) for publisher in publishers]
    if own in names:
        del publishers[names.index(own)]  # that one alone: the node may run twice
    return publishers
