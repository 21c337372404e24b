"""Bags are read as they were recorded, and what is wrong with one is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import recordings
from rclpy.qos import DurabilityPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy
from recordings import BEGIN_NS, CAMERA, image, qos, text, write_bag
from rosbags.interfaces import QosTime
from rosbags.rosbag2 import StoragePlugin
from sensor_msgs.msg import Image
from std_msgs.msg import String

from road_seg_ros.bags.qos import QosError, read_overrides, recorded_profile
from road_seg_ros.bags.reading import Bag, BagError, Topic, deserialize, header_stamp_ns

PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


@pytest.mark.parametrize('plugin', StoragePlugin)
def test_messages_come_in_order_with_their_times_and_bytes(
    tmp_path: Path, plugin: StoragePlugin
) -> None:
    records = [text('/b', 5, 'two'), text('/a', 0, 'one'), image(PIXELS, 7)]
    with Bag(write_bag(tmp_path / 'bag', records, plugin=plugin)) as bag:
        assert [str(topic) for topic in bag.topics] == [
            '/a (std_msgs/msg/String)', '/b (std_msgs/msg/String)',
            '/camera/image_raw (sensor_msgs/msg/Image)',
        ]  # fmt: skip
        assert [topic.count for topic in bag.topics] == [1, 1, 1]
        assert (bag.start_ns, bag.end_ns) == (BEGIN_NS, BEGIN_NS + 7)
        found = list(bag.messages(bag.topics))
        assert [(topic.name, time_ns - BEGIN_NS) for topic, time_ns, _ in found] == [
            ('/a', 0), ('/b', 5), (CAMERA, 7),
        ]  # fmt: skip
        assert deserialize(found[1][2], String).data == 'two'
        assert deserialize(found[2][2], Image).data.tobytes() == PIXELS.tobytes()
        assert header_stamp_ns(found[2][2]) == BEGIN_NS + 7


def test_a_part_of_a_bag_can_be_read(tmp_path: Path) -> None:
    records = [text(topic, time_ns, '') for time_ns in range(5) for topic in ('/a', '/b')]
    with Bag(write_bag(tmp_path / 'bag', records)) as bag:
        part = bag.messages(bag.topics[1:], BEGIN_NS + 1, BEGIN_NS + 3)
        assert [(t.name, ns - BEGIN_NS) for t, ns, _ in part] == [('/b', 1), ('/b', 2)]
        assert list(bag.messages([])) == []


def test_files_without_their_metadata_are_one_bag(tmp_path: Path) -> None:
    folder = tmp_path / 'copied'
    folder.mkdir()
    for name, times in (('first', (0, 1)), ('second', (2, 3))):
        bag = write_bag(tmp_path / name, [text('/a', t, '') for t in times])
        (bag / f'{name}.mcap').rename(folder / f'{name}.mcap')
    with Bag(folder) as bag:
        assert [topic.count for topic in bag.topics] == [4]
        assert (bag.start_ns, bag.end_ns) == (BEGIN_NS, BEGIN_NS + 3)
        assert [ns - BEGIN_NS for _, ns, _ in bag.messages(bag.topics)] == [0, 1, 2, 3]


def test_a_bag_that_is_cut_short_is_named_while_it_is_read(tmp_path: Path) -> None:
    path = write_bag(tmp_path / 'bag', [text('/a', t, 'x' * 1000) for t in range(5)])
    file = path / 'bag.mcap'
    data = bytearray(file.read_bytes())
    at = data.index(b'x' * 1000) - 60
    data[at : at + 60] = b'\xff' * 60
    file.write_bytes(data)
    with Bag(path) as bag, pytest.raises(BagError, match=r'bag cannot be read as a rosbag2: \S'):
        list(bag.messages(bag.topics))


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('gone', 'gone does not exist'),
        ('empty', 'is not a rosbag2: it holds no .mcap, .db3'),
        ('notes.txt', 'notes.txt cannot be read as a rosbag2'),
    ],
)
def test_what_is_no_bag_is_named(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'notes.txt').write_text('hello')
    with pytest.raises(BagError, match=words):
        Bag(tmp_path / name)


def test_bytes_that_are_no_message_are_told() -> None:
    with pytest.raises(BagError, match='3 bytes are not a message of type Image'):
        deserialize(b'abc', Image)
    with pytest.raises(BagError, match='a message of 3 bytes has no stamp'):
        header_stamp_ns(b'abc')


def test_a_stamp_is_found_in_both_byte_orders() -> None:
    stamp = (7).to_bytes(4, 'big') + (8).to_bytes(4, 'big')
    assert header_stamp_ns(b'\0\0\0\0' + stamp) == 7_000_000_008


def _recorded(*profiles: recordings.Qos) -> QoSProfile:
    return recorded_profile(Topic('/a', 'std_msgs/msg/String', 1, profiles, '', ''))


def test_recorded_qos_is_offered_again() -> None:
    profile = _recorded(
        qos('best_effort', 'transient_local', 30, deadline=QosTime(1, 5)), qos('best_effort')
    )
    assert profile.reliability == ReliabilityPolicy.RELIABLE  # they differed: the default
    profile = _recorded(qos('best_effort', 'transient_local', 30, deadline=QosTime(1, 5)))
    assert profile.reliability == ReliabilityPolicy.BEST_EFFORT
    assert profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert profile.depth == 30
    assert profile.deadline.nanoseconds == 1_000_000_005
    assert profile.lifespan == QoSProfile(depth=1).lifespan  # forever is no limit


def test_unknown_recorded_qos_is_the_default() -> None:
    for profile in (_recorded(), _recorded(qos('unknown', 'system_default', 1))):
        assert profile.reliability == ReliabilityPolicy.RELIABLE
        assert profile.durability == DurabilityPolicy.VOLATILE
        assert profile.depth == 10


def test_a_qos_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / 'qos.yaml'
    file.write_text(
        '/a:\n  reliability: best_effort\n  history: keep_all\n  deadline: {sec: 1, nsec: 0}\n'
        '/b: {depth: 3, liveliness: manual_by_topic, avoid_ros_namespace_conventions: false}\n'
    )
    overrides = read_overrides(file)
    assert overrides['/a'].reliability == ReliabilityPolicy.BEST_EFFORT
    assert overrides['/a'].deadline.nanoseconds == 1_000_000_000
    assert overrides['/b'].depth == 3
    assert overrides['/b'].liveliness == LivelinessPolicy.MANUAL_BY_TOPIC


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        ('/a: {reliability: best}', "/a: reliability must be one of .*best_effort.*, not 'best'"),
        ('/a: {depth: -1}', r'depth must be a whole number from 0 to 2\*\*31 - 1, not -1'),
        ('/a: {depth: 3000000000}', 'depth must be a whole number from 0 to'),
        ('/a: {deadline: {sec: 1, nsec: 99999999999}}', 'deadline must be like'),
        ('/a: {deadline: 2001-99-99}', 'cannot be read as a QoS file'),
        ('/a: {deadline: 3}', r'deadline must be like \{sec: 1, nsec: 0\}, not 3'),
        ('/a: {avoid_ros_namespace_conventions: 1}', 'must be true or false, not 1'),
        ('/a: {speed: 3}', "there is no policy 'speed'; there are history"),
        ('/a: 3', '3 is no map of policies'),
        ('[1]', 'must map topics to policies'),
        ('{', 'cannot be read as a QoS file'),
    ],
)
def test_a_bad_qos_file_is_named(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / 'qos.yaml'
    file.write_text(content)
    with pytest.raises(QosError, match=f'qos.yaml.*{words}'):
        read_overrides(file)
    with pytest.raises(QosError, match='gone cannot be read as a QoS file'):
        read_overrides(tmp_path / 'gone')
