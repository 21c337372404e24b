"""
A camera process: publishes one picture again and again, until SIGTERM.

    python test/camera.py --rate 100 --size 1242x375 --reliability best_effort
"""

from __future__ import annotations

import argparse
import time

import cv2
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from road_seg_ros import synthetic
from road_seg_ros.image_msgs import to_image


def main() -> None:
    """Publish at the rate asked for; when images take longer, as fast as possible."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rate', type=float, default=10.0, help='Hz')
    parser.add_argument('--size', default='1242x375', help='WIDTHxHEIGHT')
    parser.add_argument('--reliability', choices=('reliable', 'best_effort'), default='reliable')
    args = parser.parse_args()
    width, height = map(int, args.size.split('x'))
    picture = cv2.resize(synthetic.render(0, 188, 621).image, (width, height))
    rclpy.init(args=[])
    node = rclpy.create_node('camera')
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy[args.reliability.upper()])
    publisher = node.create_publisher(Image, '/camera/image_raw', qos)
    message = to_image(picture, 'bgr8', Header(frame_id='camera'))
    due = time.monotonic()
    try:
        while rclpy.ok():
            message.header.stamp = node.get_clock().now().to_msg()
            publisher.publish(message)
            due = max(due + 1 / args.rate, time.monotonic() - 1 / args.rate)
            time.sleep(max(0.0, due - time.monotonic()))
    except Exception:
        if rclpy.ok():  # else told to end in the midst of publishing
            raise


if __name__ == '__main__':
    main()
