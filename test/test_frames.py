"""Frames come from every kind of recording, and a bad one is named."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from recordings import image, write_bag
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from road_seg_ros.bags.reading import GROUND_TRUTH_TOPIC
from road_seg_ros.frames import SourceError, open_frames, synthetic_frames

STORE = get_typestore(Stores.ROS2_HUMBLE)


def _picture(index: int, height: int = 20, width: int = 32) -> np.ndarray:
    return np.full((height, width, 3), (10 * index, 100, 200), np.uint8)


def _write_images(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True)
    for index, name in enumerate(names):
        cv2.imwrite(str(folder / name), _picture(index))


def _write_bag(path: Path, plugin: StoragePlugin, compressed: bool = False) -> None:
    header = STORE.types['std_msgs/msg/Header']
    time = STORE.types['builtin_interfaces/msg/Time']
    kind = 'sensor_msgs/msg/CompressedImage' if compressed else 'sensor_msgs/msg/Image'
    with Writer(path, version=8, storage_plugin=plugin) as writer:
        image_topic = writer.add_connection('/cam', kind, typestore=STORE)
        other = writer.add_connection('/chat', 'std_msgs/msg/String', typestore=STORE)
        text = STORE.types['std_msgs/msg/String']('hello')
        writer.write(other, 0, STORE.serialize_cdr(text, 'std_msgs/msg/String'))
        for index in range(4):
            picture = _picture(index)
            stamp = header(time(index, 0), 'cam')
            if compressed:
                data = cv2.imencode('.png', picture)[1].ravel()
                message = STORE.types[kind](stamp, 'png', data)
            else:
                message = STORE.types[kind](stamp, 20, 32, 'bgr8', 0, 96, picture.ravel())
            writer.write(image_topic, index * 10**8, STORE.serialize_cdr(message, kind))


def _check(source: Path, count: int, tolerance: int = 0) -> list[int]:
    frames = list(open_frames(source).frames)
    assert len(frames) == count
    for index, frame in enumerate(frames):
        assert frame.image.dtype == np.uint8
        assert np.abs(frame.image.astype(int) - _picture(index)).max() <= tolerance
    assert len({frame.name for frame in frames}) == count
    return [frame.stamp_ns for frame in frames]


def test_a_folder_of_images_in_numeric_order(tmp_path: Path) -> None:
    _write_images(tmp_path / 'images', ['1.png', '2.png', '10.png'])
    (tmp_path / 'images' / 'notes.txt').write_text('hello')
    assert _check(tmp_path / 'images', 3) == [0, 10**8, 2 * 10**8]


def test_a_single_image(tmp_path: Path) -> None:
    _write_images(tmp_path / 'images', ['a.png'])
    _check(tmp_path / 'images' / 'a.png', 1)


def test_a_kitti_road_folder(tmp_path: Path) -> None:
    _write_images(tmp_path / 'training' / 'image_2', ['um_000000.png', 'um_000001.png'])
    assert 'KITTI Road' in open_frames(tmp_path).description
    _check(tmp_path, 2)


@pytest.mark.parametrize('above', [0, 1, 2])
def test_a_kitti_raw_drive_with_its_timestamps(tmp_path: Path, above: int) -> None:
    drive = tmp_path / '2011_09_26' / '2011_09_26_drive_0001_sync'
    _write_images(drive / 'image_02' / 'data', ['0000000000.png', '0000000001.png'])
    lines = '2011-09-26 13:02:25.964389445\n2011-09-26 13:02:26.067971701\n'
    (drive / 'image_02' / 'timestamps.txt').write_text(lines)
    source = [drive, drive.parent, tmp_path][above]
    assert 'KITTI raw' in open_frames(source).description
    # Every nanosecond, which a float of seconds since 1970 does not hold.
    assert _check(source, 2) == [1317042145_964389445, 1317042146_067971701]


def test_a_kitti_raw_drive_without_timestamps_runs_at_10_hz(tmp_path: Path) -> None:
    _write_images(tmp_path / 'image_02' / 'data', ['0000000000.png', '0000000001.png'])
    assert _check(tmp_path, 2) == [0, 10**8]


def test_a_kitti_odometry_sequence(tmp_path: Path) -> None:
    sequence = tmp_path / 'sequences' / '00'
    _write_images(sequence / 'image_2', ['000000.png', '000001.png'])
    (sequence / 'times.txt').write_text('0.000000e+00\n1.037875e-01\n')
    assert 'KITTI odometry' in open_frames(tmp_path).description
    assert _check(tmp_path, 2) == [0, 103_787_500]


def test_a_video(tmp_path: Path) -> None:
    path = tmp_path / 'drive.mp4'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 5.0, (32, 20))
    for index in range(3):
        writer.write(_picture(index))
    writer.release()
    assert _check(path, 3, tolerance=12) == [0, 2 * 10**8, 4 * 10**8]


def test_a_video_whose_rate_varies_keeps_its_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'drive.mp4'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 5.0, (32, 20))
    for index in range(4):
        writer.write(_picture(index))
    writer.release()
    times_ms = iter([0.0, 100.0, 1500.0, 0.0])  # OpenCV writes no such file; the last is unknown
    capture = cv2.VideoCapture(str(path))

    class Varying:
        isOpened, read, release = capture.isOpened, capture.read, capture.release  # noqa: N815

        @staticmethod
        def get(name: int) -> float:
            return next(times_ms) if name == cv2.CAP_PROP_POS_MSEC else capture.get(name)

    monkeypatch.setattr(cv2, 'VideoCapture', lambda _: Varying)
    stamps = [frame.stamp_ns for frame in open_frames(path).frames]
    assert stamps == [0, 100_000_000, 1_500_000_000, 1_500_000_001]


@pytest.mark.parametrize('compressed', [False, True])
@pytest.mark.parametrize('plugin', list(StoragePlugin))
def test_a_rosbag2(tmp_path: Path, plugin: StoragePlugin, compressed: bool) -> None:
    _write_bag(tmp_path / 'bag', plugin, compressed)
    assert _check(tmp_path / 'bag', 4) == [index * 10**8 for index in range(4)]
    [file] = [p for p in (tmp_path / 'bag').iterdir() if p.suffix in ('.mcap', '.db3')]
    _check(file, 4)


def test_answers_and_ground_truth_in_a_bag_are_no_cameras(tmp_path: Path) -> None:
    names = ('/front/road_seg/mask', GROUND_TRUTH_TOPIC, '/road_seg/overlay', '/zed/image')
    pixels = np.zeros((4, 4), np.uint8)
    records = [image(pixels, index, name) for index in range(3) for name in names]
    bag = write_bag(tmp_path / 'bag', records)
    assert '3 images of /zed/image' in open_frames(bag).description
    bag = write_bag(tmp_path / 'masks', [r for r in records if r[0] != '/zed/image'])
    assert '3 images of /' in open_frames(bag).description  # better than nothing


def test_a_split_bag_without_metadata_is_read_whole(tmp_path: Path) -> None:
    for part in range(2):
        _write_bag(tmp_path / f'part{part}', StoragePlugin.MCAP)
    bag = tmp_path / 'bag'
    bag.mkdir()
    for part in range(2):
        [file] = (tmp_path / f'part{part}').glob('*.mcap')
        file.rename(bag / f'bag_{part}.mcap')
    assert '8 images of /cam' in open_frames(bag).description
    assert len(list(open_frames(bag).frames)) == 8


def test_files_of_one_stem_keep_their_names_apart(tmp_path: Path) -> None:
    _write_images(tmp_path / 'images', ['a.png', 'a.bmp', 'b.png'])
    names = [frame.name for frame in open_frames(tmp_path / 'images').frames]
    assert names == ['a.bmp', 'a.png', 'b']


def test_a_synthetic_drive() -> None:
    frames = list(synthetic_frames(2, seed=1).frames)
    assert [frame.stamp_ns for frame in frames] == [0, 10**8]
    assert frames[0].image.shape == (375, 1242, 3)


def test_a_source_that_is_not_there_is_named() -> None:
    with pytest.raises(SourceError, match='/no/such/source does not exist'):
        open_frames('/no/such/source')


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match='holds no image'):
        open_frames(tmp_path)


def test_another_kind_of_file_is_named(tmp_path: Path) -> None:
    (tmp_path / 'notes.txt').write_text('hello')
    with pytest.raises(SourceError, match='notes.txt is not an image, video or bag'):
        open_frames(tmp_path / 'notes.txt')


@pytest.mark.parametrize('content', [b'', b'I am a text file'])
def test_text_as_an_image_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / 'a.png').write_bytes(content)
    with pytest.raises(SourceError, match='a.png cannot be decoded as an image'):
        list(open_frames(tmp_path).frames)


def test_text_as_a_video_is_named(tmp_path: Path) -> None:
    (tmp_path / 'a.mp4').write_text('I am a text file')
    with pytest.raises(SourceError, match='a.mp4 cannot be opened as a video'):
        open_frames(tmp_path / 'a.mp4')


def test_a_bag_without_images_says_what_it_holds(tmp_path: Path) -> None:
    with Writer(tmp_path / 'bag', version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection('/chat', 'std_msgs/msg/String', typestore=STORE)
        text = STORE.types['std_msgs/msg/String']('hello')
        writer.write(connection, 0, STORE.serialize_cdr(text, 'std_msgs/msg/String'))
    words = r'has no image topic; it holds /chat \(std_msgs/msg/String\)'
    with pytest.raises(SourceError, match=words):
        open_frames(tmp_path / 'bag')


@pytest.mark.parametrize('name', ['metadata.yaml', 'bag.mcap', 'bag.db3'])
def test_a_damaged_bag_is_named(tmp_path: Path, name: str) -> None:
    bag = tmp_path / 'bag'
    bag.mkdir()
    (bag / name).write_text('I am no bag')
    with pytest.raises(SourceError, match='cannot be read as a rosbag2'):
        open_frames(bag)


def test_a_bad_timestamp_is_named(tmp_path: Path) -> None:
    _write_images(tmp_path / 'image_02' / 'data', ['0000000000.png'])
    (tmp_path / 'image_02' / 'timestamps.txt').write_text('yesterday\n')
    with pytest.raises(SourceError, match='timestamps.txt holds a line that is no time'):
        open_frames(tmp_path)
