"""
Measure how many camera images arrive, with and without config/fastdds.xml.

    .venv/bin/python test/benchmark_transport.py

Two processes, 60 KITTI-sized bgr8 images (1.4 MB) at 10 Hz, a depth-1 subscription that does
nothing with them. Prints the Markdown table of the README.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from road_seg_ros.image_msgs import to_image
from road_seg_ros.transport import CHOSEN_BY_USER, profile_environment

FRAMES, RATE_HZ = 60, 10.0
TOPIC = 'transport_benchmark'
DOMAIN = '101'  # tests take 1 to 100
POLICIES = {
    'best effort': ReliabilityPolicy.BEST_EFFORT,
    'reliable': ReliabilityPolicy.RELIABLE,
}


def publish(policy: ReliabilityPolicy) -> None:
    """Publish the images once somebody listens."""
    node = rclpy.create_node('camera')
    publisher = node.create_publisher(Image, TOPIC, QoSProfile(depth=1, reliability=policy))
    while not publisher.get_subscription_count():
        rclpy.spin_once(node, timeout_sec=0.1)
    time.sleep(1.0)  # for the other side to match too
    image = np.zeros((375, 1242, 3), np.uint8)
    for _ in range(FRAMES):
        header = Header(stamp=node.get_clock().now().to_msg())
        publisher.publish(to_image(image, 'bgr8', header))
        time.sleep(1 / RATE_HZ)
    time.sleep(0.5)


def subscribe(policy: ReliabilityPolicy) -> None:
    """Count the images until none has come for two seconds, and print `count median_ms`."""
    node = rclpy.create_node('viewer')
    latencies: list[float] = []

    def received(message: Image) -> None:
        stamp = message.header.stamp
        now = node.get_clock().now().nanoseconds
        latencies.append((now - stamp.sec * 1_000_000_000 - stamp.nanosec) / 1e6)

    node.create_subscription(Image, TOPIC, received, QoSProfile(depth=1, reliability=policy))
    end = time.monotonic() + FRAMES / RATE_HZ + 5.0
    while time.monotonic() < end:
        rclpy.spin_once(node, timeout_sec=0.1)
    print(len(latencies), np.median(latencies) if latencies else float('nan'))


def measure(policy: str, publisher_profile: bool, subscriber_profile: bool) -> str:
    """Run both processes and return `received of 60, median ms`."""
    plain = {k: v for k, v in os.environ.items() if k not in CHOSEN_BY_USER}
    plain |= {'ROS_DOMAIN_ID': DOMAIN, 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, role, policy],
            env=plain | (profile_environment(plain) if profile else {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for role, profile in (('subscribe', subscriber_profile), ('publish', publisher_profile))
    ]
    output = processes[0].communicate()[0]
    processes[1].communicate()
    count, median = output.split()
    return f'{count} of {FRAMES}, {float(median):.1f} ms'


def main() -> None:
    """Print the table, or be one of the two processes."""
    if len(sys.argv) == 3:
        rclpy.init()
        {'publish': publish, 'subscribe': subscribe}[sys.argv[1]](POLICIES[sys.argv[2]])
        return
    names = {False: 'default', True: 'profile'}
    columns = ('publisher', 'subscriber', *(f'{name}: received, median' for name in POLICIES))
    print(f'| {" | ".join(columns)} |\n|---|---|---|---|')
    for publisher in (False, True):
        for subscriber in (False, True):
            cells = [names[publisher], names[subscriber]]
            cells += [measure(policy, publisher, subscriber) for policy in POLICIES]
            print(f'| {" | ".join(cells)} |', flush=True)


if __name__ == '__main__':
    main()
