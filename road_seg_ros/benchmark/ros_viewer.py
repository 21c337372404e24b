"""
A viewer for `ros_graph`: notes when images arrive.

    python -m road_seg_ros.benchmark.ros_viewer TOPIC RELIABILITY [NODE]

Prints {"middleware": ...} once the topic has a publisher. Each line on stdin is answered by
{"arrivals_ns": [[stamp, arrival], ...], "diagnostics": {...}} of what came since the one before:
at rest, a second later, and with the diagnostics of NODE from then. Ends with its stdin.
"""

from __future__ import annotations

import json
import sys
import time

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from road_seg_ros.benchmark.ros_orders import Orders
from road_seg_ros.diagnostics import read_reports
from road_seg_ros.image_msgs import stamp_ns

REST_S = 1.0  # within which the last image is there, if it comes at all
SPIN_S = 0.05


class Viewer:
    """What has arrived."""

    def __init__(self, topic: str, reliability: str, target: str) -> None:
        self.node = rclpy.create_node('road_seg_benchmark_viewer')
        self.topic, self.target = topic, target
        self.arrivals_ns: list[tuple[int, int]] = []
        self.diagnostics: dict[str, str] = {}
        self.diagnosed_at = 0.0
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy[reliability.upper()])
        self.node.create_subscription(Image, topic, self._on_image, qos)
        if target:
            self.node.create_subscription(
                DiagnosticArray, '/diagnostics', self._on_diagnostics, 10
            )

    def _on_image(self, message: Image) -> None:
        arrived_ns = time.time_ns()
        self.arrivals_ns.append((stamp_ns(message), arrived_ns))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        if report := read_reports(message).get(self.target):
            self.diagnostics = report.values
            self.diagnosed_at = time.monotonic()

    def at_rest(self, asked_at: float) -> bool:
        """Whether all that was sent before that time has been seen."""
        last = self.diagnosed_at if self.target else time.monotonic()
        return last > asked_at + REST_S

    def report(self) -> None:
        """Print what arrived and begin anew."""
        found = {'arrivals_ns': self.arrivals_ns, 'diagnostics': self.diagnostics}
        print(json.dumps(found), flush=True)
        self.arrivals_ns = []


def main() -> None:
    """Spin, and answer."""
    topic, reliability, *target = sys.argv[1:]
    rclpy.init(args=[])
    viewer = Viewer(topic, reliability, target[0] if target else '')
    executor = SingleThreadedExecutor()
    executor.add_node(viewer.node)
    orders = Orders()
    while not viewer.node.count_publishers(topic) and not orders.ended.is_set():
        executor.spin_once(SPIN_S)
    print(json.dumps({'middleware': rclpy.get_rmw_implementation_identifier()}), flush=True)
    asked_at: float | None = None
    while not orders.ended.is_set():
        executor.spin_once(SPIN_S)
        if asked_at is None and orders.take(0.0):
            asked_at = time.monotonic()
        if asked_at is not None and viewer.at_rest(asked_at):
            viewer.report()
            asked_at = None
    rclpy.try_shutdown()


if __name__ == '__main__':
    main()
