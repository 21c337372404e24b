"""Bags for tests: what a camera would have recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.serialization import serialize_message
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from std_msgs.msg import Header

from road_seg_ros.image_msgs import to_image, to_jpeg

STORE = get_typestore(Stores.ROS2_HUMBLE)
BEGIN_S = 1_317_000_000  # a day in 2011, on which KITTI drove
PERIOD_NS = 100_000_000


def stamps(count: int) -> list[Time]:
    """Return the stamps of the images of a bag."""
    times = (BEGIN_S * 10**9 + index * PERIOD_NS for index in range(count))
    return [Time(sec=ns // 10**9, nanosec=ns % 10**9) for ns in times]


def write_bag(path: Path, pixels: np.ndarray, count: int, *topics: str) -> Path:
    """
    Write a bag in which `count` images come at 10 Hz on each of the topics; returns its path.

    pixels: uint8 (H, W, 3) BGR. Images are compressed on a topic that ends with /compressed.
    """
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {}
        for topic in topics:
            kind = 'CompressedImage' if topic.endswith('/compressed') else 'Image'
            connections[topic] = writer.add_connection(
                topic, f'sensor_msgs/msg/{kind}', typestore=STORE
            )
        for index, stamp in enumerate(stamps(count)):
            header = Header(frame_id='camera', stamp=stamp)
            for topic, connection in connections.items():
                is_compressed = topic.endswith('/compressed')
                message = to_jpeg(pixels, header) if is_compressed else to_image(pixels, 'bgr8', header)
                time_ns = BEGIN_S * 10**9 + index * PERIOD_NS
                writer.write(connection, time_ns, serialize_message(message))
    return path
