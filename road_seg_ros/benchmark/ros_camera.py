"""
A camera for `ros_graph`: publishes images when it is told to.

    python -m road_seg_ros.benchmark.ros_camera TOPIC RELIABILITY [SOURCE]

SOURCE: as `frames.open_frames` takes it; a synthetic drive if left out. Prints {} once somebody
subscribes. Each line {"rate": Hz, "count": N} on stdin is answered, when the images are out, by
{"stamps_ns": [...]}. Ends with its stdin.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence

import rclpy
from builtin_interfaces.msg import Time
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from road_seg_ros.benchmark.ros_orders import Orders
from road_seg_ros.benchmark.samples import load_images
from road_seg_ros.image_msgs import to_image

CHECK_S = 0.02


def publish(publisher: Publisher, messages: Sequence[Image], rate: float, count: int) -> list[int]:
    """Publish `count` images, stamped as they leave; late when the machine is. Returns stamps."""
    stamps_ns = []
    due = time.monotonic()
    for index in range(count):
        time.sleep(max(0.0, due - time.monotonic()))
        message = messages[index % len(messages)]
        stamps_ns.append(time.time_ns())
        seconds, nanoseconds = divmod(stamps_ns[-1], 1_000_000_000)
        message.header.stamp = Time(sec=seconds, nanosec=nanoseconds)
        publisher.publish(message)
        due = max(due + 1 / rate, time.monotonic() - 1 / rate)
    return stamps_ns


def main() -> None:
    """Wait for a subscription, then for orders."""
    topic, reliability, *source = sys.argv[1:]
    images = load_images(source[0] if source else None).images
    messages = [to_image(image, 'bgr8', Header(frame_id='camera')) for image in images]
    orders = Orders()
    rclpy.init(args=[])
    node = rclpy.create_node('road_seg_benchmark_camera')
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy[reliability.upper()])
    publisher = node.create_publisher(Image, topic, qos)
    while not publisher.get_subscription_count() and not orders.ended.wait(CHECK_S):
        pass
    print('{}', flush=True)
    while not orders.ended.is_set():
        if order := orders.take(CHECK_S):
            stamps_ns = publish(publisher, messages, **json.loads(order))
            print(json.dumps({'stamps_ns': stamps_ns}), flush=True)
    rclpy.try_shutdown()


if __name__ == '__main__':
    main()
