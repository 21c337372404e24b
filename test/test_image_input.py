"""The subscription suits its publishers, and silence has a reason."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from rclpy.qos import QoSProfile, ReliabilityPolicy

from road_seg_ros.image_input import matching_reliability, why_silent

RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
IMAGE = 'sensor_msgs/msg/Image'


def _publisher(reliability: ReliabilityPolicy, topic_type: str = IMAGE) -> SimpleNamespace:
    return SimpleNamespace(
        node_namespace='/',
        node_name='camera',
        topic_type=topic_type,
        qos_profile=QoSProfile(depth=1, reliability=reliability),
    )


@pytest.mark.parametrize(
    ('setting', 'offered', 'expected'),
    [
        ('auto', [], RELIABLE),
        ('auto', [RELIABLE], RELIABLE),
        ('auto', [RELIABLE, RELIABLE], RELIABLE),
        ('auto', [BEST_EFFORT], BEST_EFFORT),
        ('auto', [RELIABLE, BEST_EFFORT], BEST_EFFORT),
        ('auto', [ReliabilityPolicy.UNKNOWN], BEST_EFFORT),
        ('reliable', [BEST_EFFORT], RELIABLE),
        ('best_effort', [RELIABLE], BEST_EFFORT),
    ],
)
def test_reliability_matches_every_publisher(
    setting: str, offered: list[ReliabilityPolicy], expected: ReliabilityPolicy
) -> None:
    assert matching_reliability(setting, [_publisher(r) for r in offered]) == expected


@pytest.mark.parametrize(
    ('publishers', 'words'),
    [
        ([], ('nobody publishes /camera/image_raw', 'image_topic')),
        ([_publisher(BEST_EFFORT)], ('QoS conflict', '/camera', 'input_reliability')),
        ([_publisher(RELIABLE, 'std_msgs/msg/String')], ('std_msgs/msg/String', IMAGE)),
        ([_publisher(RELIABLE)], ('1 publisher(s) but nothing arrives', 'config/fastdds.xml')),
    ],
)
def test_silence_is_explained(publishers: list[SimpleNamespace], words: tuple[str, ...]) -> None:
    reason = why_silent('/camera/image_raw', publishers, IMAGE, RELIABLE)
    for word in words:
        assert word in reason
