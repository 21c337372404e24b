"""A KITTI download becomes a rosbag2, whole and exact; what cannot be converted is named."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import resource
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rclpy
import yaml
from graph import ros, wait_for
from kitti_trees import (
    D_02,
    HEIGHT,
    IDENTITY,
    K_02,
    K_RECT_02,
    P_RECT_02,
    R_RECT_02,
    STAMPS,
    WIDTH,
    ground_truth,
    picture,
    write_images,
    write_label,
    write_odometry,
    write_raw,
    write_road,
)
from mcap.reader import make_reader
from rclpy.exceptions import InvalidTopicNameException
from rclpy.qos import DurabilityPolicy, HistoryPolicy, LivelinessPolicy, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.validate_full_topic_name import validate_full_topic_name
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from road_seg_ros.bags.camera_bag import broken_topic_rule
from road_seg_ros.frames import open_frames
from road_seg_ros.kitti_bag import main

IMAGE, INFO = '/camera/image_raw', '/camera/camera_info'
MASK = '/ground_truth/mask'
TYPES = {INFO: CameraInfo, IMAGE: Image, f'{IMAGE}/compressed': CompressedImage, MASK: Image}
DEADLINE_S = 30.0
pytestmark = pytest.mark.usefixtures('keep_sigterm')  # main handles it


@dataclass
class Bag:
    """What a bag holds, by topic: its messages as ROS itself reads them, and their times in ns."""

    messages: dict[str, list[Any]]
    times: dict[str, list[int]]

    def images(self, topic: str = IMAGE) -> list[np.ndarray]:
        shape = (-1, 3) if self.messages[topic][0].encoding == 'bgr8' else (-1,)
        return [
            np.frombuffer(m.data, np.uint8).reshape(m.height, *shape) for m in self.messages[topic]
        ]


def _convert(*arguments: object) -> None:
    assert main([str(argument) for argument in arguments]) == 0


def _read(path: Path) -> Bag:
    bag = Bag({}, {})
    with AnyReader([path]) as reader:
        for connection, time_ns, data in reader.messages():
            message = deserialize_message(bytes(data), TYPES[connection.topic])
            bag.messages.setdefault(connection.topic, []).append(message)
            bag.times.setdefault(connection.topic, []).append(time_ns)
    for topic, messages in bag.messages.items():
        stamps = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in messages]
        assert stamps == bag.times[topic]
        assert {m.header.frame_id for m in messages} == {'camera'}
    return bag


def _refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Return the one line with which a conversion ends, and see that it leaves nothing."""
    out = Path(str(arguments[1]))
    before = sorted(out.parent.iterdir()) if out.parent.is_dir() else []
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 1
    assert before == (sorted(out.parent.iterdir()) if out.parent.is_dir() else [])
    lines = [li for li in capsys.readouterr().err.splitlines() if not li.startswith('note: ')]
    [line] = lines
    assert line.startswith('error: ')
    return line


def _command(*arguments: object) -> list[str]:
    words = [sys.executable, '-m', 'road_seg_ros.kitti_bag', *arguments]
    return [str(word) for word in words]


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_raw_drive_keeps_pixels_and_nanoseconds(tmp_path: Path, storage: str) -> None:
    _convert(write_raw(tmp_path), tmp_path / 'bag', '--format', storage)
    bag = _read(tmp_path / 'bag')
    assert set(bag.messages) == {IMAGE, INFO}
    assert bag.times[IMAGE] == bag.times[INFO] == STAMPS
    for index, (message, image) in enumerate(zip(bag.messages[IMAGE], bag.images(), strict=True)):
        assert (message.encoding, message.step, message.is_bigendian) == ('bgr8', 3 * WIDTH, 0)
        assert np.array_equal(image, picture(index))
    frames = list(open_frames(tmp_path / 'bag').frames)
    assert [frame.stamp_ns for frame in frames] == STAMPS


def test_camera_info_of_a_synchronised_drive_is_rectified(tmp_path: Path) -> None:
    _convert(write_raw(tmp_path), tmp_path / 'bag')
    for info in _read(tmp_path / 'bag').messages[INFO]:
        assert (info.width, info.height) == (WIDTH, HEIGHT)
        assert info.distortion_model == 'plumb_bob'
        assert list(info.k) == pytest.approx(K_RECT_02)
        assert list(info.d) == [0.0] * 5
        assert list(info.r) == IDENTITY
        assert list(info.p) == pytest.approx(P_RECT_02)
        assert (info.binning_x, info.binning_y, info.roi.do_rectify) == (0, 0, False)


def test_camera_info_of_an_extracted_drive_has_its_distortion(tmp_path: Path) -> None:
    _convert(write_raw(tmp_path, '2011_09_26_drive_0001_extract'), tmp_path / 'bag')
    info = _read(tmp_path / 'bag').messages[INFO][0]
    assert list(info.k) == pytest.approx(K_02)
    assert list(info.d) == pytest.approx(D_02)
    assert list(info.r) == pytest.approx(R_RECT_02)
    assert list(info.p) == pytest.approx(P_RECT_02)


def test_an_odometry_sequence_starts_at_one_second(tmp_path: Path) -> None:
    _convert(write_odometry(tmp_path, camera=3), tmp_path / 'bag', '--camera', 3)
    bag = _read(tmp_path / 'bag')
    assert bag.times[IMAGE] == [1_000_000_000, 1_103_787_500, 1_207_494_600]
    assert bag.messages[INFO][0].p[0] == 703


def test_kitti_road_has_ground_truth_and_a_calibration_for_each_image(tmp_path: Path) -> None:
    _convert(write_road(tmp_path), tmp_path / 'bag')
    bag = _read(tmp_path / 'bag')
    assert bag.times[IMAGE] == bag.times[INFO] == bag.times[MASK] == [10**9, 11 * 10**8]
    assert [info.p[0] for info in bag.messages[INFO]] == [700, 701]
    for message, mask in zip(bag.messages[MASK], bag.images(MASK), strict=True):
        assert (message.encoding, message.step) == ('mono8', WIDTH)
        assert np.array_equal(mask, ground_truth())


def test_the_test_images_of_kitti_road_have_no_ground_truth(tmp_path: Path) -> None:
    _convert(write_road(tmp_path) / 'testing', tmp_path / 'bag')
    assert set(_read(tmp_path / 'bag').messages) == {IMAGE, INFO}


def test_the_ground_truth_of_the_left_camera_is_that_of_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    road = write_road(tmp_path)
    shutil.copytree(road / 'training' / 'image_2', road / 'training' / 'image_3')
    _convert(road, tmp_path / 'bag', '--camera', '3', '--no-camera-info')
    assert set(_read(tmp_path / 'bag').messages) == {IMAGE}
    assert 'note: no ground truth: it belongs to camera 2' in capsys.readouterr().err


def test_what_is_not_wanted_is_left_out(tmp_path: Path) -> None:
    _convert(write_road(tmp_path), tmp_path / 'bag', '--no-camera-info', '--no-ground-truth')
    assert set(_read(tmp_path / 'bag').messages) == {IMAGE}


def test_a_missing_label_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    road = write_road(tmp_path)
    (road / 'training' / 'gt_image_2' / 'um_road_000000.png').unlink()
    _convert(road, tmp_path / 'bag')
    assert 'note: 1 of 2 images have no ground truth' in capsys.readouterr().err
    assert _read(tmp_path / 'bag').times[MASK] == [11 * 10**8]


def test_kitti_road_without_a_calibration_goes_without_camera_info(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    road = write_road(tmp_path)
    (road / 'training' / 'calib' / 'uu_000000.txt').unlink()
    _convert(road, tmp_path / 'bag')
    note = capsys.readouterr().err
    assert 'note: the calibration of 1 of 2 images is missing, the first ' in note
    assert 'uu_000000.txt, so no camera_info: --calibration FILE adds it' in note
    assert set(_read(tmp_path / 'bag').messages) == {IMAGE, MASK}


def test_kitti_road_has_images_of_several_sizes(tmp_path: Path) -> None:
    road = write_road(tmp_path) / 'training'
    cv2.imwrite(str(road / 'image_2' / 'uu_000000.png'), picture(0, 14, 22))
    write_label(road / 'gt_image_2' / 'uu_road_000000.png', 14, 22)
    _convert(road, tmp_path / 'bag')
    bag = _read(tmp_path / 'bag')
    assert [(m.width, m.height) for m in bag.messages[INFO]] == [(WIDTH, HEIGHT), (22, 14)]
    assert np.array_equal(bag.images(MASK)[1], ground_truth(14, 22))


def test_jpeg_files_are_passed_through_byte_by_byte(tmp_path: Path) -> None:
    write_images(tmp_path / 'images', ['a.jpg', 'b.jpeg'])
    _convert(tmp_path / 'images', tmp_path / 'bag', '--compressed')
    bag = _read(tmp_path / 'bag')
    for message, name in zip(
        bag.messages[f'{IMAGE}/compressed'], ['a.jpg', 'b.jpeg'], strict=True
    ):
        assert message.format == 'jpeg'
        assert bytes(message.data) == (tmp_path / 'images' / name).read_bytes()


def _add_orientation(path: Path, orientation: int) -> None:
    """Put an Exif tag into a JPEG file, as cameras do."""
    entry = struct.pack('<HHII', 0x0112, 3, 1, orientation)
    exif = b'Exif\0\0II*\0' + struct.pack('<IH', 8, 1) + entry + bytes(4)
    data = path.read_bytes()
    path.write_bytes(data[:2] + b'\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif + data[2:])


@pytest.mark.parametrize(
    ('orientation', 'shape'),
    [(3, (HEIGHT, WIDTH, 3)), (6, (WIDTH, HEIGHT, 3))],
    ids=['upside down', 'on its side'],
)
def test_a_jpeg_that_exif_turns_is_upright_raw_and_compressed(
    tmp_path: Path, orientation: int, shape: tuple[int, ...]
) -> None:
    write_images(tmp_path / 'images', ['0.jpg'])
    _add_orientation(tmp_path / 'images' / '0.jpg', orientation)
    _convert(tmp_path / 'images', tmp_path / 'raw')
    _convert(tmp_path / 'images', tmp_path / 'jpeg', '--compressed', '--quality', 100)
    raw, jpeg = (next(open_frames(tmp_path / bag).frames).image for bag in ('raw', 'jpeg'))
    assert raw.shape == jpeg.shape == shape
    assert np.abs(raw.astype(int) - jpeg).max() < 12


def test_a_jpeg_that_exif_calls_upright_is_passed_through(tmp_path: Path) -> None:
    write_images(tmp_path / 'images', ['0.jpg'])
    _add_orientation(tmp_path / 'images' / '0.jpg', 1)
    _convert(tmp_path / 'images', tmp_path / 'bag', '--compressed')
    [message] = _read(tmp_path / 'bag').messages[f'{IMAGE}/compressed']
    assert bytes(message.data) == (tmp_path / 'images' / '0.jpg').read_bytes()


def test_other_files_become_jpeg(tmp_path: Path) -> None:
    drive = write_raw(tmp_path)
    sizes = []
    for quality in (100, 10):
        _convert(drive, tmp_path / f'{quality}', '--compressed', '--quality', quality)
        bag = _read(tmp_path / f'{quality}')
        sizes.append(len(bag.messages[f'{IMAGE}/compressed'][0].data))
    assert sizes[0] > sizes[1]
    frames = open_frames(tmp_path / '100').frames
    assert np.abs(next(frames).image.astype(int) - picture(0)).max() < 12
    bag = _read(tmp_path / '100')
    assert bag.messages[f'{IMAGE}/compressed'][0].format == 'bgr8; jpeg compressed bgr8'
    assert bag.times[INFO] == STAMPS


def test_a_plain_folder_takes_rate_topic_and_calibration(tmp_path: Path) -> None:
    write_images(tmp_path / 'images', ['1.png', '2.png', '10.png'])
    calibration = write_odometry(tmp_path) / 'calib.txt'
    options = ('--rate', '2.5', '--topic', '/front/rgb', '--calibration', calibration)
    _convert(tmp_path / 'images', tmp_path / 'bag', *options, '--camera', 3)
    with AnyReader([tmp_path / 'bag']) as reader:
        assert {c.topic for c in reader.connections} == {'/front/rgb', '/front/camera_info'}
        infos = [data for c, _, data in reader.messages() if c.topic == '/front/camera_info']
        assert deserialize_message(bytes(infos[0]), CameraInfo).p[0] == 703
        times = [t for c, t, _ in reader.messages() if c.topic == '/front/rgb']
    assert times == [10**9, 14 * 10**8, 18 * 10**8]


def test_rate_replaces_recorded_times(tmp_path: Path) -> None:
    drive = write_raw(tmp_path)
    (drive / 'image_02' / 'timestamps.txt').write_text('these are broken\n')
    _convert(drive, tmp_path / 'bag', '--rate', '20')
    assert _read(tmp_path / 'bag').times[IMAGE] == [10**9, 105 * 10**7, 11 * 10**8]


@pytest.mark.parametrize('rate', [None, 10])
def test_a_video_keeps_its_rate_unless_another_is_given(tmp_path: Path, rate: int | None) -> None:
    path = tmp_path / 'drive.mp4'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 5.0, (32, 20))
    for index in range(4):
        writer.write(np.full((20, 32, 3), 40 * index, np.uint8))
    writer.release()
    _convert(path, tmp_path / 'bag', *(['--rate', rate] if rate else []))
    bag = _read(tmp_path / 'bag')
    step = 10**9 // (rate or 5)
    assert bag.times == {IMAGE: [10**9 + index * step for index in range(4)]}
    assert [round(image.mean() / 40) for image in bag.images()] == [0, 1, 2, 3]


def test_more_images_than_wait_in_memory_stay_in_order(tmp_path: Path) -> None:
    (tmp_path / 'images').mkdir()
    for index in range(100):  # of very different sizes in bytes, so that threads overtake
        image = np.random.default_rng(index).integers(0, 255 if index % 2 else 1, (90, 90, 3))
        image[0, 0] = index
        cv2.imwrite(str(tmp_path / 'images' / f'{index}.png'), image)
    _convert(tmp_path / 'images', tmp_path / 'bag')
    assert [image[0, 0, 0] for image in _read(tmp_path / 'bag').images()] == list(range(100))


def test_kitti_raw_itself(tmp_path: Path, kitti_raw: Path) -> None:
    _convert(kitti_raw, tmp_path / 'bag')
    bag = _read(tmp_path / 'bag')
    originals = sorted(kitti_raw.glob('*/*/image_02/data/*'))
    assert len(bag.times[IMAGE]) == len(bag.times[INFO]) == len(originals)
    assert np.array_equal(bag.images()[-1], cv2.imread(str(originals[-1])))
    info = bag.messages[INFO][0]
    assert (info.width, info.height) == (1242, 375)
    assert (info.p[0], info.p[3], info.k[2]) == (721.5377, 44.85728, 609.5593)


def test_kitti_road_itself(tmp_path: Path, kitti_road: Path) -> None:
    _convert(kitti_road, tmp_path / 'bag', '--no-camera-info', '--compressed')
    bag = _read(tmp_path / 'bag')
    labels = sorted((kitti_road / 'training' / 'gt_image_2').glob('*_road_*'))
    assert len(bag.messages[MASK]) == len(bag.times[f'{IMAGE}/compressed']) == len(labels)
    label = cv2.imread(str(labels[0]))
    mask = np.where(label[..., 0] > 0, 255, 0)
    mask[label[..., 2] == 0] = 127
    assert np.array_equal(bag.images(MASK)[0], mask)


def test_mcap_reads_every_message_with_the_definitions_in_the_bag(tmp_path: Path) -> None:
    _convert(write_road(tmp_path), tmp_path / 'bag')
    store = get_typestore(Stores.EMPTY)
    counts: dict[str, int] = {}
    with (tmp_path / 'bag' / 'bag.mcap').open('rb') as stream:
        reader = make_reader(stream, validate_crcs=True)
        assert reader.get_header().profile == 'ros2'
        summary = reader.get_summary()
        for schema in summary.schemas.values():
            assert schema.encoding == 'ros2msg'
            store.register(get_types_from_msg(schema.data.decode(), schema.name))
        for schema, channel, message in reader.iter_messages():
            assert channel.message_encoding == 'cdr'
            decoded = store.deserialize_cdr(message.data, schema.name)
            stamp = decoded.header.stamp.sec * 10**9 + decoded.header.stamp.nanosec
            assert stamp == message.log_time == message.publish_time
            counts[channel.topic] = counts.get(channel.topic, 0) + 1
        qos = {channel.metadata['offered_qos_profiles'] for channel in summary.channels.values()}
    assert counts == {IMAGE: 2, INFO: 2, MASK: 2}
    assert summary.statistics.message_count == 6
    [profiles] = qos
    _check_qos(profiles)


def test_sqlite_has_the_tables_of_rosbag2(tmp_path: Path) -> None:
    _convert(write_raw(tmp_path), tmp_path / 'bag', '--format', 'sqlite3')
    with contextlib.closing(sqlite3.connect(tmp_path / 'bag' / 'bag.db3')) as database:
        topics = database.execute(
            'SELECT id, name, type, serialization_format, offered_qos_profiles FROM topics'
        ).fetchall()
        ids = {name: number for number, name, *_ in topics}
        assert {(name, kind, cdr) for _, name, kind, cdr, _ in topics} == {
            (IMAGE, 'sensor_msgs/msg/Image', 'cdr'),
            (INFO, 'sensor_msgs/msg/CameraInfo', 'cdr'),
        }
        for *_, profiles in topics:
            _check_qos(profiles)
        query = 'SELECT timestamp, data FROM messages WHERE topic_id = ? ORDER BY id'
        rows = database.execute(query, [ids[IMAGE]]).fetchall()
        definitions = dict(
            database.execute(
                'SELECT topic_type, encoded_message_definition FROM message_definitions'
            )
        )
    assert [stamp for stamp, _ in rows] == STAMPS
    image = deserialize_message(rows[1][1], Image)
    assert bytes(image.data) == picture(1).tobytes()
    assert 'uint8[] data' in definitions['sensor_msgs/msg/Image']
    assert 'float64[9] k' in definitions['sensor_msgs/msg/CameraInfo']


@pytest.mark.parametrize(('storage', 'suffix'), [('mcap', 'mcap'), ('sqlite3', 'db3')])
def test_the_metadata_is_what_humble_and_its_successors_read(
    tmp_path: Path, storage: str, suffix: str
) -> None:
    _convert(write_raw(tmp_path), tmp_path / 'bag', '--format', storage)
    text = (tmp_path / 'bag' / 'metadata.yaml').read_text()
    info = yaml.safe_load(text)['rosbag2_bagfile_information']
    assert info['version'] == 8
    assert info['storage_identifier'] == storage
    assert info['relative_file_paths'] == [f'bag.{suffix}'] == [info['files'][0]['path']]
    assert (tmp_path / 'bag' / f'bag.{suffix}').is_file()
    for part in (info, info['files'][0]):
        assert part['starting_time']['nanoseconds_since_epoch'] == STAMPS[0]
        assert part['duration']['nanoseconds'] == STAMPS[-1] - STAMPS[0]
        assert part['message_count'] == 6
    assert (info['compression_format'], info['compression_mode']) == ('', '')
    assert {'custom_data', 'ros_distro'} <= set(info)
    for topic in info['topics_with_message_count']:
        assert topic['message_count'] == 3
        metadata = topic['topic_metadata']
        assert metadata['serialization_format'] == 'cdr'
        assert metadata['type_description_hash'].startswith('RIHS01_')
        _check_qos(metadata['offered_qos_profiles'])


@pytest.mark.parametrize('options', [[], ['--compressed']])
def test_the_type_hashes_are_those_of_ros(tmp_path: Path, options: list[str]) -> None:
    _convert(write_road(tmp_path), tmp_path / 'bag', *options)
    info = yaml.safe_load((tmp_path / 'bag' / 'metadata.yaml').read_text())
    topics = info['rosbag2_bagfile_information']['topics_with_message_count']
    hashes = {
        t['topic_metadata']['name']: t['topic_metadata']['type_description_hash'] for t in topics
    }
    with ros():
        node = rclpy.create_node('hashes')
        for topic, offered in hashes.items():
            node.create_publisher(TYPES[topic], topic, 1)
            [endpoint] = wait_for(lambda t=topic: node.get_publishers_info_by_topic(t), topic)
            assert offered == str(endpoint.topic_type_hash)
        node.destroy_node()


def _check_qos(profiles: object) -> None:
    """See that offered QoS is as metadata up to version 8 has it: a string, with numbers."""
    assert isinstance(profiles, str)
    forever = {'sec': 9223372036, 'nsec': 854775807}
    assert yaml.safe_load(profiles) == [
        {
            'history': HistoryPolicy.KEEP_LAST.value,
            'depth': 10,
            'reliability': ReliabilityPolicy.RELIABLE.value,
            'durability': DurabilityPolicy.VOLATILE.value,
            'deadline': forever,
            'lifespan': forever,
            'liveliness': LivelinessPolicy.AUTOMATIC.value,
            'liveliness_lease_duration': forever,
            'avoid_ros_namespace_conventions': False,
        }
    ]


# What cannot be converted.


def test_a_source_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert '/no/such does not exist' in _refused(capsys, '/no/such', tmp_path / 'bag')


def test_a_bag_as_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _convert(write_raw(tmp_path), tmp_path / 'bag')
    for source in (tmp_path / 'bag', tmp_path / 'bag' / 'bag.mcap'):
        assert 'is a rosbag2 already' in _refused(capsys, source, tmp_path / 'other')


def test_another_kind_of_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert 'is not an image, video or bag' in _refused(capsys, __file__, tmp_path / 'bag')


def test_an_empty_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'empty').mkdir()
    assert 'holds no image' in _refused(capsys, tmp_path / 'empty', tmp_path / 'bag')


def test_a_missing_calibration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drive = write_raw(tmp_path)
    (drive.parent / 'calib_cam_to_cam.txt').unlink()
    line = _refused(capsys, drive, tmp_path / 'bag')
    assert 'calibration of 3 of 3 images is missing, the first' in line
    assert '--calibration FILE names another, --no-camera-info does without' in line
    _convert(drive, tmp_path / 'bag', '--no-camera-info')


def test_a_calibration_for_another_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drive = write_raw(tmp_path)
    for file in (drive / 'image_02' / 'data').iterdir():
        cv2.imwrite(str(file), picture(0, 6, 10))
    line = _refused(capsys, drive, tmp_path / 'bag')
    assert 'is 10x6' in line and 'is for 20x12; --no-camera-info' in line


def test_a_broken_calibration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drive = write_raw(tmp_path)
    (drive.parent / 'calib_cam_to_cam.txt').write_text('P_rect_02: none\n')
    assert 'calib_cam_to_cam.txt, P_rect_02' in _refused(capsys, drive, tmp_path / 'bag')


def test_mixed_sizes_unless_allowed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_images(tmp_path / 'images', ['a.png', 'b.png'])
    cv2.imwrite(str(tmp_path / 'images' / 'c.png'), picture(0, 10, 10))
    line = _refused(capsys, tmp_path / 'images', tmp_path / 'bag')
    assert 'c.png is 10x10, the images before it 20x12; --mixed-sizes allows that' in line
    _convert(tmp_path / 'images', tmp_path / 'bag', '--mixed-sizes')
    assert [m.width for m in _read(tmp_path / 'bag').messages[IMAGE]] == [20, 20, 10]


@pytest.mark.parametrize('options', [[], ['--compressed']])
@pytest.mark.parametrize('content', [b'', b'I am a text file', b'\xff\xd8\xff\xe0 cut short'])
def test_an_unreadable_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, options: list[str]
) -> None:
    write_images(tmp_path / 'images', ['a.jpg', 'b.jpg'])
    (tmp_path / 'images' / 'b.jpg').write_bytes(content)
    line = _refused(capsys, tmp_path / 'images', tmp_path / 'bag', *options)
    assert 'b.jpg cannot be decoded' in line


def test_a_folder_that_is_named_like_an_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'images' / 'a.png').mkdir(parents=True)
    line = _refused(capsys, tmp_path / 'images', tmp_path / 'bag')
    assert 'a.png cannot be read: Is a directory' in line


def test_a_label_of_another_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    road = write_road(tmp_path)
    write_label(road / 'training' / 'gt_image_2' / 'uu_road_000000.png', 10, 10)
    line = _refused(capsys, road, tmp_path / 'bag')
    assert 'uu_road_000000.png is 10x10, its image 20x12' in line


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (['--rate', 'fast'], "--rate must be a number, got 'fast'"),
        (['--rate', '0'], '--rate must be from 0.001 to 1000 Hz, got 0'),
        (['--rate', '-3'], '--rate must be from 0.001 to 1000 Hz, got -3'),
        (['--rate', 'nan'], '--rate must be from 0.001 to 1000 Hz, got nan'),
        (['--rate', 'inf'], '--rate must be from 0.001 to 1000 Hz, got inf'),
        (['--quality', '0'], '--quality must be a whole number from 1 to 100, got 0'),
        (['--quality', '50.5'], '--quality must be a whole number from 1 to 100, got 50.5'),
        (['--topic', 'camera'], "--topic must not be 'camera': it must be like /camera/image_raw"),
        (['--topic', MASK], 'other messages are written there'),
        (['--topic', INFO], 'other messages are written there'),
        (['--calibration', 'a', '--no-camera-info'], 'exclude each other'),
        (['--calibration', '/no/such.txt'], 'is missing, the first /no/such.txt'),
        (['--camera', '1'], 'has no images of camera 1; it has those of 2'),
    ],
)
def test_a_bad_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert words in _refused(capsys, write_raw(tmp_path), tmp_path / 'bag', *options)


@pytest.mark.parametrize(
    'topic',
    [
        '/a',
        '/a/b_1/C',
        '/_a',
        '',
        '/',
        'a',
        '/a/',
        '//a',
        '/1a',
        '/a b',
        '/a-b',
        '/ä',
        '/a\n',
        '/~a',
    ]
    + ['/' + 'a' * length for length in (200, 235, 246, 247, 300)],
)
def test_a_topic_is_refused_where_ros_refuses_it(topic: str) -> None:
    try:
        validate_full_topic_name(topic)
        validate_full_topic_name(f'{topic}/compressed')
        valid = True
    except InvalidTopicNameException:
        valid = False
    assert (broken_topic_rule(topic) == '') == valid


def test_what_is_there_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _convert(write_raw(tmp_path), tmp_path / 'bag')
    before = (tmp_path / 'bag' / 'bag.mcap').read_bytes()
    line = _refused(capsys, write_odometry(tmp_path), tmp_path / 'bag')
    assert 'exists already; --force replaces it' in line
    assert (tmp_path / 'bag' / 'bag.mcap').read_bytes() == before


def test_force_replaces_a_bag_once_the_new_one_is_complete(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _convert(write_raw(tmp_path), tmp_path / 'bag')
    before = (tmp_path / 'bag' / 'bag.mcap').read_bytes()
    sequence = write_odometry(tmp_path)
    last = sequence / 'image_2' / '000002.png'
    last.rename(tmp_path / 'last.png')
    last.write_text('I am a text file')
    _refused(capsys, sequence, tmp_path / 'bag', '--force')
    assert (tmp_path / 'bag' / 'bag.mcap').read_bytes() == before
    (tmp_path / 'last.png').rename(last)
    _convert(sequence, tmp_path / 'bag', '--force', '--format', 'sqlite3')
    names = sorted(path.name for path in (tmp_path / 'bag').iterdir())
    assert names == ['bag.db3', 'metadata.yaml']


@pytest.mark.parametrize('kind', ['folder', 'file'])
def test_force_does_not_replace_what_is_no_bag(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    drive = write_raw(tmp_path)
    out = drive if kind == 'folder' else drive.parent / 'calib_cam_to_cam.txt'
    assert f'{out} is something else' in _refused(capsys, drive, out, '--force')
    assert drive.is_dir() and (drive.parent / 'calib_cam_to_cam.txt').is_file()


@pytest.mark.parametrize(
    ('out', 'words'),
    [
        ('missing/bag', 'cannot be made: No such file or directory'),
        ('file/bag', 'cannot be made: Not a directory'),
        ('locked/bag', 'cannot be made: Permission denied'),
    ],
)
def test_a_target_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str, words: str
) -> None:
    drive = write_raw(tmp_path)
    (tmp_path / 'file').touch()
    (tmp_path / 'locked').mkdir(mode=0o555)
    if out.startswith('locked') and os.access(tmp_path / 'locked', os.W_OK):
        pytest.skip('no folder is locked for this user')
    assert f'{tmp_path / out} {words}' in _refused(capsys, drive, tmp_path / out)


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_full_disk(tmp_path: Path, long_folder: Path, storage: str) -> None:
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (3 * 2**20, 3 * 2**20))
    result = subprocess.run(
        _command(long_folder, tmp_path / 'bag', '--format', storage),
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert result.returncode == 1
    lines = [line for line in result.stderr.splitlines() if not line.startswith('note: ')]
    assert len(lines) == 1, result.stderr
    assert 'error: the bag cannot be written: ' in lines[0]
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope='module')
def long_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of images whose conversion takes long enough to be disturbed."""
    folder = tmp_path_factory.mktemp('long')
    cv2.imwrite(str(folder / '0.png'), np.zeros((375, 1242, 3), np.uint8))
    for index in range(1, 3000):
        (folder / f'{index}.png').symlink_to('0.png')
    return folder


def _start(folder: Path, out: Path, **options: Any) -> subprocess.Popen[str]:
    """Start a conversion, and wait until it has written something."""
    process = subprocess.Popen(
        _command(folder, out), stdout=subprocess.DEVNULL, text=True, **options
    )
    file = out.parent / f'.{out.name}.partial' / out.name / f'{out.name}.mcap'
    wait_for(lambda: file.is_file() and file.stat().st_size > 10**7, f'{file} to grow')
    return process


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_conversion_leaves_nothing(
    tmp_path: Path, long_folder: Path, number: signal.Signals
) -> None:
    process = _start(long_folder, tmp_path / 'bag', stderr=subprocess.PIPE)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert stderr.splitlines()[-1] == 'interrupted; nothing was written'
    assert 'Traceback' not in stderr
    assert list(tmp_path.iterdir()) == []


def test_a_killed_conversion_leaves_nothing_that_looks_complete(
    tmp_path: Path, long_folder: Path
) -> None:
    process = _start(long_folder, tmp_path / 'bag', stderr=subprocess.DEVNULL)
    process.kill()
    process.wait()
    [partial_folder] = tmp_path.iterdir()
    assert partial_folder.name == '.bag.partial'
    assert not list(partial_folder.rglob('metadata.yaml'))
    _convert(write_raw(tmp_path / 'source'), tmp_path / 'bag')  # takes what is left away
    assert {path.name for path in tmp_path.iterdir()} == {'bag', 'source'}
    assert {path.name for path in (tmp_path / 'bag').iterdir()} == {'bag.mcap', 'metadata.yaml'}


def test_a_bag_that_a_killed_conversion_was_replacing_is_put_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drive = write_raw(tmp_path)
    _convert(drive, tmp_path / 'bag')
    (tmp_path / '.bag.partial').mkdir()
    (tmp_path / 'bag').rename(tmp_path / '.bag.partial' / 'bag.replaced')
    assert main([str(drive), str(tmp_path / 'bag')]) == 1
    assert 'bag exists already' in capsys.readouterr().err
    assert _read(tmp_path / 'bag').times[IMAGE] == STAMPS
    assert not (tmp_path / '.bag.partial').exists()


def test_two_conversions_to_one_bag_do_not_mix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drive = write_raw(tmp_path)
    (tmp_path / '.bag.partial').mkdir()
    (tmp_path / '.bag.partial' / 'its').touch()
    other = os.open(tmp_path / '.bag.partial', os.O_RDONLY)
    try:
        fcntl.flock(other, fcntl.LOCK_EX)
        line = _refused(capsys, drive, tmp_path / 'bag')
    finally:
        os.close(other)
    assert 'bag is being written by another process' in line
    assert (tmp_path / '.bag.partial' / 'its').exists()


def test_a_missing_rosbags_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drive = write_raw(tmp_path)
    monkeypatch.delitem(sys.modules, 'road_seg_ros.bags.camera_bag')
    monkeypatch.setitem(sys.modules, 'rosbags.interfaces', None)
    line = _refused(capsys, drive, tmp_path / 'bag')
    assert 'needs the package rosbags' in line and 'pip install "rosbags>=0.11.2"' in line


def test_progress_is_shown_on_a_terminal(tmp_path: Path) -> None:
    drive = write_raw(tmp_path)
    ours, theirs = pty.openpty()
    result = subprocess.run(
        _command(drive, tmp_path / 'bag'),
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        timeout=DEADLINE_S,
    )
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert result.returncode == 0
    assert '3 of 3 (100 %) images' in shown
    assert f'{IMAGE}    3 messages' in result.stdout


def test_nothing_of_ros_is_needed(tmp_path: Path) -> None:
    drive = write_raw(tmp_path)
    code = (
        'import sys; sys.modules.update(rclpy=None, sensor_msgs=None, std_msgs=None);'
        'from road_seg_ros.kitti_bag import main; sys.exit(main(sys.argv[1:]))'
    )
    command = [sys.executable, '-c', code, str(drive), str(tmp_path / 'bag')]
    subprocess.run(command, check=True, timeout=DEADLINE_S)
    assert len(_read(tmp_path / 'bag').times[IMAGE]) == 3
