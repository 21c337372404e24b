"""The subscription suits its publishers, and silence has a reason."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import rclpy
from graph import Client, wait_for
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from road_seg_ros import image_input
from road_seg_ros.image_input import ImageInput, matching_reliability, why_silent

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


def test_images_that_were_overtaken_before_they_were_taken_are_missed(client: Client) -> None:
    node = Node('listener')  # spun only now and then: meanwhile the newest image takes the place
    taken: list[tuple[Image, int]] = []
    infos: list[dict] = []
    images = ImageInput(node, 'raw', 'reliable', lambda *taken_now: taken.append(taken_now))
    node.create_subscription(Image, images.topic, lambda _, info: infos.append(info), 1)

    def send(count: int) -> None:
        for _ in range(count):
            client.camera.publish(Image())
        before = len(taken), len(infos)
        wait_for(
            lambda: (
                rclpy.spin_once(node, timeout_sec=0.1)
                or (len(taken) > before[0] and len(infos) > before[1])
            ),
            'the newest image',
        )

    try:
        wait_for(lambda: client.camera.get_subscription_count() == 2, 'both subscriptions')
        send(1)
        client.camera.publish(Image())
        send(4)
        numbers = [info.get('publication_sequence_number') for info in infos]
        told = 'publisher_gid' in infos[0]  # since Kilted
        assert not told or numbers[-1] == 6
        assert sum(missed for _, missed in taken) == (6 - len(taken) if told else 0)
    finally:
        node.destroy_node()


def test_where_rclpy_gives_the_message_alone_nothing_is_missed(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_input, 'Subscription', object)  # as on Humble
    node = Node('listener')
    taken: list[tuple[Image, int]] = []
    ImageInput(node, 'raw', 'reliable', lambda *taken_now: taken.append(taken_now))
    try:
        client.wait_until_matched()
        for count in (1, 5):
            before = len(taken)
            for _ in range(count):
                client.camera.publish(Image())
            wait_for(
                lambda n=before: rclpy.spin_once(node, timeout_sec=0.1) or len(taken) > n,
                'an image',
            )
        assert {missed for _, missed in taken} == {0}
    finally:
        node.destroy_node()
