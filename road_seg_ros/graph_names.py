"""Names on the ROS graph, and of whoever stands there."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # in another module after Kilted
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
