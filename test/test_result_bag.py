"""What is saved of a replay: the recording, what the node made of it, and a video; or nothing."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from graph import node_process, replay_process
from recordings import (
    BEGIN_NS,
    CAMERA,
    IMAGE,
    image,
    stamps,
    strange,
    text,
    write_bag,
)  # fmt: skip
from sensor_msgs.msg import Image

from road_seg_ros import synthetic
from road_seg_ros.bags.reading import Bag, deserialize

PERIOD_NS = 100_000_000
COUNT = 6


@pytest.fixture(scope='module')
def node(tiny_model: Path) -> Iterator[None]:
    """Run a road_seg_node; the player waits until it is active."""
    with node_process('-p', f'model_path:={tiny_model}', '-p', 'engine:=torch'):
        yield


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    scenes = synthetic.drive(0, COUNT, 94, 310)
    records = [image(scene.image, i * PERIOD_NS) for i, scene in enumerate(scenes)]
    records += [text('/chat', PERIOD_NS // 2, 'hello'), strange('/strange', 1)]
    return write_bag(tmp_path / 'bag', records)


def test_the_recording_is_saved_with_mask_overlay_and_a_video(
    node: None, bag: Path, tmp_path: Path
) -> None:
    out = tmp_path / 'new' / 'out'
    with replay_process(bag, '--save', out, '--wait-for', CAMERA) as player:
        output, _ = player.communicate(timeout=60)
    assert player.returncode == 0, output
    assert f'saved {out}: {COUNT} of mask, {COUNT} of overlay, for {COUNT} images' in output
    assert [path.name for path in out.parent.iterdir()] == ['out']  # nothing hidden is left
    with Bag(bag) as original, Bag(out) as saved:
        names = [topic.name for topic in saved.topics]
        assert names == [CAMERA, '/chat', '/road_seg/mask', '/road_seg/overlay']
        played = [t for t in original.topics if t.name in names]
        assert list(saved.messages(played)) == list(original.messages(played))
        for topic in saved.topics[2:]:
            found = list(saved.messages([topic]))
            times = [time_ns - BEGIN_NS for _, time_ns, _ in found]
            messages = [deserialize(data, Image) for *_, data in found]
            assert times == stamps(messages) == [i * PERIOD_NS for i in range(COUNT)]
            assert topic.type == IMAGE
            assert messages[0].encoding == ('mono8' if 'mask' in topic.name else 'bgr8')
            assert (messages[0].height, messages[0].width) == (94, 310)
    video = cv2.VideoCapture(str(out / 'overlay.mp4'))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == COUNT
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(10)


def test_nothing_is_left_of_a_replay_that_is_interrupted(
    node: None, bag: Path, tmp_path: Path
) -> None:
    out = tmp_path / 'new' / 'out'
    with replay_process(bag, '--save', out, '--rate', '0.1') as player:
        for line in player.stdout:
            if line.startswith('playing'):
                break
        assert len(list(out.parent.iterdir())) == 1  # the hidden folder
        player.send_signal(signal.SIGINT)
        output, _ = player.communicate(timeout=20)
    assert player.returncode == 0, output
    assert f'{out} was not written' in output
    assert list(out.parent.iterdir()) == []


def test_a_folder_that_is_there_already_is_left_alone(bag: Path, tmp_path: Path) -> None:
    with replay_process(bag, '--save', bag) as player:
        output, _ = player.communicate(timeout=20)
    assert player.returncode == 1
    assert f'error: {bag} exists already; choose another name for --save' in output


def test_a_node_that_is_not_there_is_named(bag: Path, tmp_path: Path) -> None:
    out = tmp_path / 'new' / 'out'
    arguments = ('--save', out, '--node', '/front/road_seg', '--wait-timeout', '0.5')
    with replay_process(bag, *arguments) as player:
        output, _ = player.communicate(timeout=20)
    assert player.returncode == 1
    assert 'error: --save found no active /front/road_seg in 0.5 s; it says: nothing' in output
    assert list(out.parent.iterdir()) == []


def test_a_bag_that_has_results_already_is_refused(tmp_path: Path) -> None:
    records = [image(np.zeros((4, 4), np.uint8), 0, '/road_seg/mask')]
    bag = write_bag(tmp_path / 'bag', records)
    with replay_process(bag, '--save', tmp_path / 'out') as player:
        output, _ = player.communicate(timeout=20)
    assert player.returncode == 1
    assert 'the bag has a topic /road_seg/mask already; leave it out' in output
    assert [path.name for path in tmp_path.iterdir()] == ['bag']


def test_a_disk_that_cannot_be_written_ends_with_one_line(bag: Path) -> None:
    with replay_process(bag, '--save', '/proc/out') as player:
        output, _ = player.communicate(timeout=20)
    assert player.returncode == 1
    assert 'error: --save cannot be written: ' in output
