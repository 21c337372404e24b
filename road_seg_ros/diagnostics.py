"""The node's DiagnosticArray: how it is written, and how others read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

SUBJECT = ': road segmentation'  # follows the node's name in that of its status


@dataclass(frozen=True)
class Report:
    """What a node said of itself: one sentence, and counters and rates as strings."""

    message: str  # begins as `Health.status` says
    values: dict[str, str]  # as `Health.values` has them, and the model's while there is one

    @property
    def active(self) -> bool:
        """Whether its lifecycle state is active: paused and failing nodes are."""
        return not self.message.startswith('inactive')

    def count(self, *counters: str) -> int:
        """Return the sum of some counters."""
        return sum(int(self.values[name]) for name in counters)


def write_report(
    stamp: Time, node: str, hardware_id: str, level: bytes, report: Report
) -> DiagnosticArray:
    """Return the message of a node. node: its full name."""
    status = DiagnosticStatus(
        name=f'{node}{SUBJECT}',
        hardware_id=hardware_id,
        level=level,
        message=report.message,
        values=[KeyValue(key=key, value=value) for key, value in report.values.items()],
    )
    array = DiagnosticArray(status=[status])
    array.header.stamp = stamp
    return array


def read_reports(array: DiagnosticArray) -> Mapping[str, Report]:
    """Return what nodes of this kind say in a message, by their full names."""
    return {
        status.name.removesuffix(SUBJECT): Report(
            status.message, {item.key: item.value for item in status.values}
        )
        for status in array.status
        if status.name.endswith(SUBJECT)
    }
