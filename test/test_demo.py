"""The demo drives the node as a user would, and leaves pictures behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from graph import RELIABLE, Client, children, ros, wait_for
from sensor_msgs.msg import Image

from road_seg_ros import demo, synthetic
from road_seg_ros.bags.recorder import Recorder, RecorderError, Video, contact_sheet


def _command(*arguments: str, model: Path | str = '') -> list[str]:
    command = [sys.executable, '-m', 'road_seg_ros.demo', *arguments, '--']
    command += ['-p', 'engine:=torch']
    if model:
        command += ['-p', f'model_path:={model}']
    return command


def _demo(*arguments: str, model: Path | str = '') -> subprocess.CompletedProcess[str]:
    command = _command(*arguments, model=model)
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_table_says_why_masks_are_missing() -> None:
    counted = {'dropped': 2, 'missed': 1, 'rejected': 0, 'errors': 0}
    report = demo.Report('somewhere', frames=10, masks=7, lost=counted)
    assert report.rows()['dropped'] == '3 (2 overtaken in the node, 1 never received)'
    whole = demo.Report('somewhere', frames=10, masks=10, lost=dict.fromkeys(counted, 0))
    assert whole.rows()['dropped'] == '0'


@pytest.fixture(scope='module')
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('images')
    for index, scene in enumerate(synthetic.drive(0, 8, 188, 621)):
        image = scene.image[:-1] if index == 5 else scene.image  # KITTI's sizes differ too
        cv2.imwrite(str(folder / f'{index:03d}.png'), image)
    return folder


def test_demo_leaves_masks_a_video_and_a_contact_sheet(
    images: Path, tmp_path: Path, tiny_model: Path
) -> None:
    result = _demo(str(images), '--out', str(tmp_path), '--rate', '5', model=tiny_model)
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / 'report.json').read_text())
    assert (report['frames in'], report['masks out']) == ('8', '8')
    for row in ('frames in', 'masks out', 'dropped', 'latency median', 'latency p95', 'device'):
        assert row in result.stdout
    masks = sorted((tmp_path / 'masks').glob('*.png'))
    assert [mask.stem for mask in masks] == [f'{index:03d}' for index in range(8)]
    mask = cv2.imread(str(masks[0]), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (188, 621)
    assert set(np.unique(mask)) <= {0, 255}
    video = cv2.VideoCapture(str(tmp_path / 'overlay.mp4'))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 8
    assert video.get(cv2.CAP_PROP_FPS) == 5
    sheet = cv2.imread(str(tmp_path / 'contact_sheet.png'))
    assert sheet.std() > 10


@pytest.mark.parametrize(
    ('source', 'words'),
    [('/no/such/source', 'does not exist'), (__file__, 'is not an image, video or bag')],
)
def test_a_bad_source_ends_with_one_line(tmp_path: Path, source: str, words: str) -> None:
    result = _demo(source, '--out', str(tmp_path))
    assert result.returncode == 1
    assert 'Traceback' not in result.stderr
    assert words in result.stderr


def test_a_text_file_among_the_images_ends_with_one_line(tmp_path: Path) -> None:
    (tmp_path / 'a.png').write_text('I am a text file')
    result = _demo(str(tmp_path), '--out', str(tmp_path / 'out'))
    assert result.returncode == 1
    assert 'Traceback' not in result.stderr
    assert 'a.png cannot be decoded' in result.stderr


def test_a_node_that_cannot_start_is_reported(images: Path, tmp_path: Path) -> None:
    result = _demo(str(images), '--out', str(tmp_path), model='/no/model')
    assert result.returncode == 1
    assert 'Traceback' not in result.stderr
    assert "'/no/model' does not exist" in result.stderr
    assert 'road_seg_node ended at start' in result.stderr
    assert 'terminate called' not in result.stderr  # a thread of OpenCV cut off at the end


def test_another_camera_on_the_topic_stops_the_demo(
    images: Path, tmp_path: Path, tiny_model: Path
) -> None:
    with ros():
        client = Client(RELIABLE)
        try:
            result = _demo(str(images), '--out', str(tmp_path), model=tiny_model)
        finally:
            client.close()
    assert result.returncode == 1
    assert 'publishes /camera/image_raw already' in result.stderr


def test_another_road_seg_stops_the_demo(images: Path, tmp_path: Path, tiny_model: Path) -> None:
    with ros():
        client = Client(RELIABLE)
        client.destroy_publisher(client.camera)
        client.create_publisher(Image, '/road_seg/mask', RELIABLE)
        try:
            result = _demo(str(images), '--out', str(tmp_path), model=tiny_model)
        finally:
            client.close()
    assert result.returncode == 1
    assert 'another node publishes /road_seg/mask already' in result.stderr


def test_what_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 10.0)
    (tmp_path / 'masks').rmdir()
    recorder.add('mask', 'a', np.zeros((4, 4), np.uint8))
    with pytest.raises(RecorderError, match='a.png cannot be written'):
        recorder.close()


def test_a_recording_is_replaced_and_nothing_else_is(tmp_path: Path) -> None:
    for folder, file in (('masks', 'masks/mine.png'), ('report', 'report.json')):
        path = tmp_path / folder / file
        path.parent.mkdir(parents=True)
        path.write_bytes(b'mine')
        with pytest.raises(RecorderError, match=f'{path} is there and of no recording'):
            Recorder(tmp_path / folder, 10.0)
        assert path.read_bytes() == b'mine'
    for name in ('before', 'after'):
        recorder = Recorder(tmp_path / 'out', 10.0)
        recorder.add('overlay', name, np.zeros((4, 4, 3), np.uint8))
        recorder.add('mask', name, np.zeros((4, 4), np.uint8))
        recorder.close()
    assert [path.name for path in (tmp_path / 'out' / 'masks').iterdir()] == ['after.png']
    mine = tmp_path / 'out' / 'masks' / 'mine.png'
    mine.write_bytes(b'mine')
    with pytest.raises(RecorderError, match=f'{mine} is there and of no recording'):
        Recorder(tmp_path / 'out', 10.0)
    assert len(list(mine.parent.iterdir())) == 2


@pytest.mark.usefixtures('keep_sigterm')
def test_a_recording_is_no_source_of_its_own(tmp_path: Path, capsys) -> None:
    (tmp_path / 'out' / 'masks').mkdir(parents=True)
    source = tmp_path / 'out' / 'masks'
    assert demo.main([str(source), '--out', str(tmp_path / 'out')]) == 1
    assert f'error: {source} is inside of --out' in capsys.readouterr().err


def test_a_node_that_ends_ends_the_demo(images: Path, tiny_model: Path, tmp_path: Path) -> None:
    command = _command(str(images), '--out', str(tmp_path), '--rate', '1', model=tiny_model)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: list(tmp_path.glob('masks/*.png')), 'the first mask', 60)
        (node,) = children(process.pid)
        os.kill(node, signal.SIGKILL)
        _, error = process.communicate(timeout=30)
    assert process.returncode == 1
    assert 'error: road_seg_node has ended' in error


def test_ros_that_does_not_start_is_one_line(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('ROS_DOMAIN_ID', 'abc')
    result = _demo(str(images), '--out', str(tmp_path / 'out'))
    assert result.returncode == 1
    assert 'error: ROS does not start: ' in result.stderr and 'Traceback' not in result.stderr
    assert not (tmp_path / 'out').exists()


@pytest.mark.usefixtures('keep_sigterm')
def test_a_user_who_does_not_exist_is_named(capsys) -> None:
    assert demo.main(['~nobody_of_this_name']) == 1
    assert 'error: ~nobody_of_this_name: ' in capsys.readouterr().err


@pytest.mark.parametrize('rate', ['0', 'nan', 'inf'])
def test_a_rate_that_is_none_is_a_usage_error(rate: str, capsys) -> None:
    with pytest.raises(SystemExit) as end:
        demo.main(['--rate', rate])
    assert end.value.code == 2
    assert '--rate: must be a number above 0' in capsys.readouterr().err


@pytest.mark.parametrize('rate', [0.001, 66.6667, 89.9713, 119.9931, 1234.5678])
def test_a_video_has_any_rate(tmp_path: Path, rate: float) -> None:
    video = Video(tmp_path / 'a.mp4', rate)
    for _ in range(3):
        video.add(np.zeros((16, 16, 3), np.uint8))
    video.close()
    written = cv2.VideoCapture(str(tmp_path / 'a.mp4')).get(cv2.CAP_PROP_FPS)
    assert written == pytest.approx(rate, abs=0.01, rel=1e-3)


@pytest.mark.parametrize(
    ('shape', 'size'),
    [((4, 8400), (8190, 2)), ((9000, 100), (90, 8190)), ((8190, 8191), (8190, 8188))],
)
def test_a_video_of_large_pictures_is_smaller(
    tmp_path: Path, shape: tuple[int, int], size: tuple[int, int]
) -> None:
    video = Video(tmp_path / 'a.mp4', 1e6)
    video.add(np.zeros((*shape, 3), np.uint8))
    video.close()
    written = cv2.VideoCapture(str(tmp_path / 'a.mp4'))
    sides = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
    assert tuple(map(written.get, sides)) == size


def test_tiny_images_are_recorded_too(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 10.0)
    recorder.add('overlay', 'a', np.zeros((1, 1, 3), np.uint8))
    recorder.close()
    assert (tmp_path / 'contact_sheet.png').is_file()


def test_a_contact_sheet_picks_evenly() -> None:
    pictures = [np.full((10, 20, 3), index, np.uint8) for index in range(29)]
    sheet = contact_sheet(pictures)
    assert sheet.shape == (50, 60, 3)
    assert list(sheet[::10, ::20, 0].ravel()) == list(range(0, 29, 2))
    assert contact_sheet(pictures[:4]).shape == (20, 60, 3)
