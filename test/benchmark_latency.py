"""
Measure from an image's stamp to its mask in another process, with and without config/fastdds.xml.

    .venv/bin/python test/benchmark_latency.py

Three processes: a camera with KITTI-sized reliable images at 10 Hz, the node with the model that
ships, and a viewer. Prints a Markdown table; `other` is the median less the median inference.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from graph import camera_process, node_process, plain_environment
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from road_seg_ros.transport import profile_environment

RATE_HZ, SETTLING_S, SECONDS = 10.0, 8.0, 30.0
DOMAIN = '103'  # tests take 1 to 100, other benchmarks 101 and 102
# Which of camera, node and viewer have the profile.
CASES = (
    (False, False, False),
    (True, False, False),
    (False, True, False),
    (True, True, False),
    (True, True, True),
)


def view() -> None:
    """Collect latencies and print them, and the node's median inference, as JSON."""
    rclpy.init()
    node = rclpy.create_node('viewer')
    latencies_ms: list[float] = []
    inference: list[str] = []
    started = time.monotonic()

    def on_mask(mask: Image) -> None:
        stamp_ns = mask.header.stamp.sec * 1_000_000_000 + mask.header.stamp.nanosec
        if time.monotonic() - started > SETTLING_S:
            latencies_ms.append((node.get_clock().now().nanoseconds - stamp_ns) / 1e6)

    def on_diagnostics(message: DiagnosticArray) -> None:
        values = {v.key: v.value for v in message.status[0].values}
        inference.append(values.get('inference median (ms)', ''))

    node.create_subscription(Image, '/road_seg/mask', on_mask, QoSProfile(depth=1))
    node.create_subscription(DiagnosticArray, '/diagnostics', on_diagnostics, 10)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while time.monotonic() - started < SETTLING_S + SECONDS:
        executor.spin_once(timeout_sec=0.1)
    print(json.dumps({'latencies_ms': latencies_ms, 'inference_ms': float(inference[-1])}))


def measure(case: tuple[bool, bool, bool]) -> str:
    """Run the three processes and return the cells of a row."""
    plain = plain_environment() | {
        'ROS_DOMAIN_ID': DOMAIN,
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
    }
    camera, node, viewer = (plain | (profile_environment(plain) if p else {}) for p in case)
    with (
        node_process(env=node, stdout=subprocess.DEVNULL),
        camera_process('--rate', f'{RATE_HZ}', env=camera, stdout=subprocess.DEVNULL),
    ):
        command = [sys.executable, __file__, 'view']
        output = subprocess.run(
            command, env=viewer, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
        )
    seen = json.loads(output.stdout)
    percentiles = np.percentile(seen['latencies_ms'], (50, 95, 99))
    cells = [f'{len(seen["latencies_ms"])} of {RATE_HZ * SECONDS:.0f}']
    cells += [f'{p:.1f}' for p in (*percentiles, percentiles[0] - seen['inference_ms'])]
    return ' | '.join(cells)


def main() -> None:
    """Print the table, or be the viewer."""
    if sys.argv[1:] == ['view']:
        view()
        return
    columns = 'camera | node | viewer | masks | median ms | p95 | p99 | other, ms'
    print(f'| {columns} |\n|{"---|" * 8}')
    for case in CASES:
        names = ' | '.join('profile' if p else 'default' for p in case)
        print(f'| {names} | {measure(case)} |', flush=True)


if __name__ == '__main__':
    main()
