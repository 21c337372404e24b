"""One road_seg_node seen from outside: what it publishes, and what it says of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from road_seg_ros.diagnostics import read_reports
from road_seg_ros.graph_names import NODE, other_publishers
from road_seg_ros.node_process import NodeError

RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
COUNTERS = ('dropped', 'rejected', 'errors')
READY = ('waiting', 'running', 'no image')  # so begins the status of a node that would answer


class NodeClient:
    """Subscribes, through `node`, to the outputs and diagnostics of the road_seg_node `name`."""

    def __init__(self, node: Node, name: str = NODE) -> None:
        self.name = name
        self.heard = 0  # how often it has reported
        self.status = ''
        self.values: dict[str, str] = {}  # of its diagnostics
        self._node = node
        self._outputs: list[str] = []
        self._before: dict[str, str] = {}  # the same, when it was first heard
        node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, RELIABLE)

    def listen(self, output: str, callback: Callable[[Any], None], raw: bool = False) -> None:
        """Have `callback` get every Image of mask, overlay or confidence; raw: as bytes."""
        topic = f'{self.name}/{output}'
        self._node.create_subscription(Image, topic, callback, RELIABLE, raw=raw)
        self._outputs.append(topic)

    def ready(self) -> bool:
        """Whether the node would answer an image, and its outputs have been found."""
        return self.status.startswith(READY) and all(
            self._node.count_publishers(topic) > 0 for topic in self._outputs
        )

    @property
    def lost(self) -> int:
        """Return how many images it dropped, rejected or failed at since it was first heard."""
        return sum(map(self.count, COUNTERS))

    @property
    def stopped(self) -> bool:
        """Whether it is inactive, or has unloaded its model after failures."""
        without_model = self.heard > 0 and 'model' not in self.values
        return self.status.startswith('inactive') or without_model

    def count(self, counter: str) -> int:
        """Return how far a counter has come since the node was first heard."""
        return int(self.values.get(counter, 0)) - int(self._before.get(counter, 0))

    def refuse_company(self, camera_topic: str, expected: int = 1) -> None:
        """
        Raise NodeError if another camera or another such node is there: they would mix.

        expected: how many such nodes may be there, 0 before ours was started.
        """
        fix = 'stop it, or set ROS_DOMAIN_ID to another number for this'
        if others := other_publishers(self._node, camera_topic):
            names = ', '.join(other.node_name for other in others)
            raise NodeError(f'{names} publishes {camera_topic} already; {fix}')
        if self._node.count_publishers(f'{self.name}/mask') > expected:
            raise NodeError(f'another node publishes {self.name}/mask already; {fix}')

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        if (report := read_reports(message).get(self.name)) is None:
            return
        self.heard += 1
        self.status, self.values = report.message, report.values
        if self.heard == 1:
            self._before = report.values
