"""KITTI's downloads are understood as they are unpacked, and what is wrong with one is named."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from kitti_trees import (
    D_02,
    IDENTITY,
    K_02,
    K_RECT_02,
    P_RECT_02,
    R_RECT_02,
    STAMPS,
    write_images,
    write_label,
    write_odometry,
    write_raw,
    write_road,
)

from road_seg_ros import kitti
from road_seg_ros.image_files import SourceError
from road_seg_ros.kitti import find_sequence, read_calibration, read_label, read_stamps
from road_seg_ros.metrics import NOT_ROAD, NOT_SCORED, ROAD


@pytest.mark.parametrize('inside', ['../..', '..', '.', 'image_02', 'image_02/data'])
def test_a_raw_drive_is_found_from_above_and_from_inside(tmp_path: Path, inside: str) -> None:
    drive = write_raw(tmp_path)
    sequence = find_sequence(drive / inside)
    assert (sequence.kind, sequence.camera, sequence.rectified) == ('KITTI raw', 2, True)
    assert sequence.folder == drive / 'image_02' / 'data'
    assert [file.path.name for file in sequence.files] == [f'{i:010d}.png' for i in range(3)]
    assert {file.calibration for file in sequence.files} == {
        tmp_path / '2011_09_26' / 'calib_cam_to_cam.txt'
    }
    assert read_stamps(sequence) == STAMPS


def test_an_extracted_drive_is_not_rectified(tmp_path: Path) -> None:
    drive = write_raw(tmp_path, '2011_09_26_drive_0001_extract')
    assert not find_sequence(drive).rectified


def test_left_colour_is_taken_unless_another_camera_is_asked_for(tmp_path: Path) -> None:
    for camera in (0, 2, 3):
        drive = write_raw(tmp_path, camera=camera)
    assert find_sequence(drive).folder.parent.name == 'image_02'
    assert find_sequence(drive, camera=3).folder.parent.name == 'image_03'
    assert find_sequence(drive / 'image_00' / 'data').camera == 0
    with pytest.raises(SourceError, match='no images of camera 1; it has those of 0, 2, 3'):
        find_sequence(drive, camera=1)


def test_a_grey_odometry_sequence_is_taken_where_there_is_no_colour(tmp_path: Path) -> None:
    assert find_sequence(write_odometry(tmp_path, camera=0)).camera == 0


@pytest.mark.parametrize('inside', ['../..', '.', 'image_2'])
def test_an_odometry_sequence(tmp_path: Path, inside: str) -> None:
    path = write_odometry(tmp_path)
    sequence = find_sequence(path / inside)
    assert (sequence.kind, sequence.camera) == ('KITTI odometry', 2)
    assert sequence.files[0].calibration == path / 'calib.txt'
    assert read_stamps(sequence) == [0, 103_787_500, 207_494_600]


@pytest.mark.parametrize(
    ('inside', 'split', 'count'),
    [
        ('.', 'training', 2),
        ('training', 'training', 2),
        ('testing', 'testing', 1),
        ('testing/image_2', 'testing', 1),
    ],
)
def test_kitti_road_is_its_training_images_unless_testing_is_named(
    tmp_path: Path, inside: str, split: str, count: int
) -> None:
    sequence = find_sequence(write_road(tmp_path) / inside)
    assert (sequence.kind, len(sequence.files)) == ('KITTI Road', count)
    file = sequence.files[0]
    assert file.path == tmp_path / split / 'image_2' / 'um_000000.png'
    assert file.calibration == tmp_path / split / 'calib' / 'um_000000.txt'
    assert file.label == tmp_path / split / 'gt_image_2' / 'um_road_000000.png'
    assert read_stamps(sequence) is None


def test_several_drives_are_listed_to_choose_from(tmp_path: Path) -> None:
    for number in range(7):
        write_raw(tmp_path, f'2011_09_26_drive_{number:04d}_sync')
    words = r'7 drives or sequences; give one of them: 2011_09_26_drive_0000_sync, .*0004_sync, \.'
    with pytest.raises(SourceError, match=words):
        find_sequence(tmp_path / '2011_09_26')


def test_another_folder_is_not_kitti(tmp_path: Path) -> None:
    write_images(tmp_path / 'pictures', ['a.png'])
    assert find_sequence(tmp_path / 'pictures') is None


def test_the_neighbour_of_a_folder_without_data_is_not_taken_for_it(tmp_path: Path) -> None:
    write_raw(tmp_path / 'neighbour')
    write_images(tmp_path / 'image_02', ['a.png'])  # KITTI would have image_02/data
    assert find_sequence(tmp_path / 'image_02') is None


def test_a_drive_without_images_is_named(tmp_path: Path) -> None:
    (tmp_path / 'image_02' / 'data').mkdir(parents=True)
    with pytest.raises(SourceError, match='image_02/data holds no image'):
        find_sequence(tmp_path)


def test_a_drive_without_timestamps_has_no_stamps(tmp_path: Path) -> None:
    drive = write_raw(tmp_path)
    (drive / 'image_02' / 'timestamps.txt').unlink()
    assert read_stamps(find_sequence(drive)) is None


@pytest.mark.parametrize(
    ('lines', 'words'),
    [
        ('yesterday\n', 'holds a line that is no time'),
        ('2011-09-26 13:02:25.12x\n', 'holds a line that is no time'),
        ('2011-09-26 13:02:25\n', 'holds 1 times for the 3 images in .*--rate 10'),
        (
            '2011-09-26 13:02:25.9\n2011-09-26 13:02:25.8\n2011-09-26 13:02:26\n',
            'does not go forward: 2011-09-26 13:02:25.8 in line 2 follows .*25.9 .*--rate 10',
        ),
        (
            '2011-09-26 13:02:25\n2011-09-26 13:02:26.5\n2011-09-26 13:02:26.5\n',
            'does not go forward: .* in line 3',
        ),
        ('1969-09-26 13:02:25\n' * 3, 'holds a time that a ROS stamp cannot have: 1969'),
        ('2038-09-26 13:02:25\n' * 3, 'holds a time that a ROS stamp cannot have: 2038'),
    ],
)
def test_bad_timestamps_are_named(tmp_path: Path, lines: str, words: str) -> None:
    drive = write_raw(tmp_path)
    (drive / 'image_02' / 'timestamps.txt').write_text(lines)
    with pytest.raises(SourceError, match=f'timestamps.txt {words}'):
        read_stamps(find_sequence(drive))


@pytest.mark.parametrize(
    ('line', 'words'),
    [
        ('soon', 'holds a line that is no time'),
        ('nan', 'holds a line that is no time'),
        ('-1.0', 'holds a time that a ROS stamp cannot have: -1.0'),
        ('1e99', 'holds a time that a ROS stamp cannot have: 1e99'),
    ],
)
def test_bad_times_of_a_sequence_are_named(tmp_path: Path, line: str, words: str) -> None:
    path = write_odometry(tmp_path)
    (path / 'times.txt').write_text(f'0.0\n0.1\n{line}\n')
    with pytest.raises(SourceError, match=f'times.txt {words}'):
        read_stamps(find_sequence(path))


def test_the_calibration_of_rectified_images_has_no_distortion(tmp_path: Path) -> None:
    write_raw(tmp_path)
    file = tmp_path / '2011_09_26' / 'calib_cam_to_cam.txt'
    calibration = read_calibration(file, 2, rectified=True)
    assert calibration.k == pytest.approx(K_RECT_02)
    assert calibration.d == (0.0,) * 5
    assert list(calibration.r) == IDENTITY
    assert calibration.p == pytest.approx(P_RECT_02)
    assert calibration.size == (20, 12)


def test_the_calibration_of_extracted_images_leads_to_the_rectified_ones(tmp_path: Path) -> None:
    write_raw(tmp_path)
    file = tmp_path / '2011_09_26' / 'calib_cam_to_cam.txt'
    calibration = read_calibration(file, 2, rectified=False)
    assert calibration.k == pytest.approx(K_02)
    assert calibration.d == pytest.approx(D_02)
    assert calibration.r == pytest.approx(R_RECT_02)
    assert calibration.p == pytest.approx(P_RECT_02)


@pytest.mark.parametrize('camera', [0, 3])
def test_the_calibration_of_a_sequence_is_that_of_the_camera(tmp_path: Path, camera: int) -> None:
    file = write_odometry(tmp_path) / 'calib.txt'
    calibration = read_calibration(file, camera, rectified=True)
    assert calibration.k == (700 + camera, 0, 1, 0, 700, 3, 0, 0, 1)
    assert calibration.p == (700 + camera, 0, 1, 2, 0, 700, 3, 4, 0, 0, 1, 5)
    assert calibration.size is None


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (None, 'calib.txt cannot be read: No such file'),
        (b'\xff\xfe\x00', 'has no line P2:'),
        (b'P3: 1 2 3', 'has no line P2:'),
        (b'P2: 1 2 three', "P2: could not convert string to float: 'three'"),
        (b'P2: 1 2 3', "P2: must be 12 numbers, is '1 2 3'"),
        (b'P2: 1 2 3 4 5 6 7 8 9 10 11 nan', 'P2: must be 12 numbers, is .* nan'),
        (b'S_rect_02: inf 1\nP_rect_02: 1 2 3 4 5 6 7 8 9 10 11 12', 'S_rect_02: must be 2'),
    ],
)
def test_a_bad_calibration_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / 'calib.txt'
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SourceError, match=words):
        read_calibration(file, 2, rectified=True)


def test_a_calibration_without_distortion_is_named_for_extracted_images(tmp_path: Path) -> None:
    file = write_odometry(tmp_path) / 'calib.txt'
    with pytest.raises(SourceError, match='calib.txt has no line K_02:'):
        read_calibration(file, 2, rectified=False)


def test_a_label_says_where_road_is_and_what_is_scored(tmp_path: Path) -> None:
    write_label(tmp_path / 'label.png', 12, 20)
    label = read_label(tmp_path / 'label.png')
    assert (label.dtype, label.shape) == (np.uint8, (12, 20))
    assert (label[:4] == NOT_SCORED).all()
    assert (label[4:, :10] == NOT_ROAD).all()
    assert (label[4:, 10:] == ROAD).all()


def test_a_written_label_is_read_again(tmp_path: Path) -> None:
    label = np.array([[ROAD, NOT_ROAD], [NOT_SCORED, ROAD]], np.uint8)
    kitti.write_label(tmp_path / 'label.png', label)
    assert (read_label(tmp_path / 'label.png') == label).all()
    with pytest.raises(OSError, match='label.png cannot be written'):
        kitti.write_label(tmp_path / 'nowhere' / 'label.png', label)


def test_a_label_whose_blue_and_red_only_complete_each_other_is_named(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / 'label.png'), np.full((4, 6, 3), (0x0F, 0, 0xF0), np.uint8))
    with pytest.raises(SourceError, match='24 pixels of unexpected colours, the first #f0000f'):
        read_label(tmp_path / 'label.png')


def test_a_label_of_other_colours_is_named(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / 'label.png'), np.full((4, 6, 3), 128, np.uint8))
    with pytest.raises(SourceError, match='24 pixels of unexpected colours, the first #808080'):
        read_label(tmp_path / 'label.png')


def test_a_label_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / 'label.png').write_text('I am a text file')
    with pytest.raises(SourceError, match='label.png cannot be decoded as an image'):
        read_label(tmp_path / 'label.png')
