"""Whether the nodes are ready for a bag, and whether they have answered all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible

from road_seg_ros.diagnostics import Report, read_reports
from road_seg_ros.graph_names import node_of

ANSWERS = ('published', 'dropped', 'rejected', 'errors')  # what becomes of an image


class ReplayWatch:
    """
    Follows the diagnostics of road_seg nodes, and the graph round them.

    node: any node that is being spun. topics: the image topic of each road_seg node, by the
    node's full name. `inactive`, `unmatched` and `unanswered` return the names of the nodes that
    are still to be waited for; a node that has not reported is.
    """

    def __init__(self, node: Node, topics: Mapping[str, str]) -> None:
        self._node = node
        self._topics = topics
        self._reports: dict[str, Report] = {}
        self._has_time: dict[str, bool] = {}
        self._subscription = node.create_subscription(
            DiagnosticArray, '/diagnostics', self._on_diagnostics, QoSProfile(depth=10)
        )

    def forget(self) -> None:
        """Go by nothing but what is reported from now on."""
        self._reports = {}

    def inactive(self) -> list[str]:
        """Return the nodes that are not active."""
        return self._not(lambda name, report: report.active)

    def unmatched(self) -> list[str]:
        """Return the nodes that a player which publishes the time as well does not reach yet."""
        return self._not(lambda name, report: self._has_time[name] and self._has_publisher(name))

    def unanswered(self) -> list[str]:
        """Return the nodes that have not done with every image that they received."""
        return self._not(lambda name, report: report.count('received') == report.count(*ANSWERS))

    def _not(self, holds: Callable[[str, Report], bool]) -> list[str]:
        reports = self._reports
        return [n for n in self._topics if n not in reports or not holds(n, reports[n])]

    def _has_publisher(self, name: str) -> bool:
        topic = self._topics[name]
        subscriptions = [
            info.qos_profile
            for info in self._node.get_subscriptions_info_by_topic(topic)
            if node_of(info) == name
        ]
        return any(
            qos_check_compatible(publisher.qos_profile, subscription)[0] != QoSCompatibility.ERROR
            for publisher in self._node.get_publishers_info_by_topic(topic)
            for subscription in subscriptions
        )

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        stamp = message.header.stamp
        for name, report in read_reports(message).items():
            if name in self._topics:
                # Simulated time is 0 until a player's clock arrives.
                self._has_time[name] = bool(stamp.sec or stamp.nanosec)
                self._reports[name] = report  # last: another thread may be looking
