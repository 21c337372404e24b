"""What goes wrong on a robot, one thing after the other, on a real graph."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from graph import (
    BEST_EFFORT,
    RELIABLE,
    Client,
    camera_process,
    node_process,
    plain_environment,
    running_node,
    wait_for,
)
from lifecycle_msgs.msg import Transition
from malformed import MALFORMED, MALFORMED_COMPRESSED
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image

from road_seg_ros.image_msgs import stamp_ns, to_image, to_jpeg
from road_seg_ros.node import RoadSegNode

MB = 1e6
FLOOD_S, FLOOD_HZ = 60.0, 100.0
STATES = {
    'unconfigured': (),
    'inactive': (Transition.TRANSITION_CONFIGURE,),
    'finalized': (Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,),
}


@pytest.fixture
def node(client: Client, tiny_model: Path) -> Iterator[RoadSegNode]:
    with running_node(model_path=str(tiny_model), engine='torch') as node:
        client.wait_until_matched()
        yield node


# Messages


def test_every_malformed_message_is_rejected_and_told(
    node: RoadSegNode, client: Client, image: np.ndarray
) -> None:
    assert len(MALFORMED) >= 60
    assert len({bad.kind for bad in MALFORMED}) >= 20
    masks = client.listen('mask')
    for count, bad in enumerate(MALFORMED, 1):
        client.camera.publish(bad.make(image))
        wait_for(lambda count=count: node._health.rejected == count, bad.name)
        assert bad.words in node._health.last_rejection
        assert '/camera/image_raw' in node._health.last_rejection
    assert not masks
    client.answer(masks, image)
    assert node._health.errors == 0


def test_every_malformed_compressed_message_is_rejected(
    client: Client, tiny_model: Path, image: np.ndarray
) -> None:
    camera = client.create_publisher(CompressedImage, '/camera/image_raw/compressed', RELIABLE)
    with running_node(
        model_path=str(tiny_model), engine='torch', input_transport='compressed'
    ) as node:
        masks = client.listen('mask')
        wait_for(camera.get_subscription_count, 'the node to subscribe')
        for count, bad in enumerate(MALFORMED_COMPRESSED, 1):
            camera.publish(bad.make(image))
            wait_for(lambda count=count: node._health.rejected == count, bad.name)
        assert not masks
        camera.publish(to_jpeg(image, Image().header))
        wait_for(lambda: masks, 'a mask')


def test_size_and_encoding_may_change_from_frame_to_frame(
    node: RoadSegNode, client: Client, image: np.ndarray
) -> None:
    masks = client.listen('mask')
    random = np.random.default_rng(0)
    for _ in range(40):
        height, width = random.integers(1, 400, 2)
        pixels = cv2.resize(image, (int(width), int(height)))
        encoding = random.choice(['bgr8', 'rgb8', 'mono8', 'bgra8'])
        if encoding == 'mono8':
            pixels = pixels[..., 0]
        elif encoding == 'bgra8':
            pixels = np.dstack([pixels, pixels[..., 0]])
        message = to_image(pixels, str(encoding), Image().header)
        message.header.stamp = client.get_clock().now().to_msg()
        client.camera.publish(message)
        stamp = message.header.stamp
        mask = wait_for(
            lambda stamp=stamp: next((m for m in masks if m.header.stamp == stamp), None), 'a mask'
        )
        assert (mask.height, mask.width) == (height, width)
    assert (node._health.rejected, node._health.errors) == (0, 0)


# Cameras, viewers and other nodes


def test_a_camera_that_is_killed_may_come_back(node: RoadSegNode, client: Client) -> None:
    masks = client.listen('mask')
    for reliability in ('reliable', 'best_effort', 'reliable'):
        with camera_process('--size', '310x94', '--reliability', reliability) as camera:
            masks.clear()
            wait_for(lambda: len(masks) > 3, f'masks of the {reliability} camera')
            camera.send_signal(signal.SIGKILL)
        client.wait_for_status('no image for')
    assert node._health.errors == 0


def test_a_flood_leaves_memory_flat_and_the_newest_image_answered(client: Client) -> None:
    """With the model that ships, on images of KITTI's size."""
    with node_process() as process:
        masks = client.listen('mask')
        with camera_process('--rate', f'{FLOOD_HZ}') as camera:
            wait_for(lambda: len(masks) > 20, 'masks')
            before = psutil.Process(process.pid).memory_info().rss
            end = time.monotonic() + FLOOD_S
            while time.monotonic() < end:
                time.sleep(0.1)
                del masks[:-1]
            after = psutil.Process(process.pid).memory_info().rss
            assert (after - before) / MB < 20
            camera.send_signal(signal.SIGTERM)
            camera.wait(10)
            stopped = client.get_clock().now().nanoseconds
        status = client.wait_for_status('running')
        values = {v.key: v.value for v in status.values}
        assert int(values['dropped']) > FLOOD_S  # it was a flood
        inference_s = float(values['inference p95 (ms)']) / 1e3
        # The newest was published just before the end; its answer takes one inference.
        wait_for(
            lambda: stamp_ns(masks[-1]) > stopped - 1e9, 'the newest image', 1.0 + inference_s
        )
        newest = stamp_ns(masks[-1])
        time.sleep(2 * inference_s + 0.2)
        assert stamp_ns(masks[-1]) == newest


def test_viewers_may_come_and_go(node: RoadSegNode, client: Client, image: np.ndarray) -> None:
    masks = client.listen('mask')
    kinds = dict.fromkeys(('overlay', 'confidence', 'class_confidence', 'mask'), Image)
    kinds['overlay/compressed'] = CompressedImage
    seen = dict.fromkeys(kinds, 0)
    for index in range(100):
        subscriptions = {
            topic: client.create_subscription(
                kind,
                f'/road_seg/{topic}',
                lambda _, topic=topic: seen.update({topic: seen[topic] + 1}),
                (RELIABLE, BEST_EFFORT)[index % 2],
            )
            for topic, kind in kinds.items()
        }
        client.answer(masks, image)
        client.drop(subscriptions.values())
    client.answer(masks, image)
    assert (node._health.errors, node._health.rejected) == (0, 0)
    assert min(seen.values()) > 0, seen


def test_two_nodes_of_the_same_name_both_answer(
    node: RoadSegNode, client: Client, tiny_model: Path, image: np.ndarray
) -> None:
    masks = client.listen('mask')
    with node_process('-p', f'model_path:={tiny_model}', '-p', 'engine:=torch'):
        wait_for(lambda: client.camera.get_subscription_count() == 2, 'the second node')

        def both_answered() -> bool:
            stamp = client.send(image)
            time.sleep(0.2)
            return sum(m.header.stamp == stamp for m in masks) == 2

        wait_for(both_answered, 'two masks of one image')
    masks.clear()
    client.answer(masks, image)


# Files


@pytest.mark.parametrize('fault', ['replaced', 'cut short in place', 'deleted'])
def test_the_model_file_may_change_while_the_node_runs(
    client: Client, tiny_model: Path, tmp_path: Path, image: np.ndarray, fault: str
) -> None:
    model = tmp_path / 'model.safetensors'
    model.write_bytes(tiny_model.read_bytes())
    with node_process('-p', f'model_path:={model}') as process:
        client.wait_for_status('waiting for the first image')
        masks = client.listen('mask')
        client.wait_until_matched()
        first = client.answer(masks, image)
        if fault == 'replaced':
            model.unlink()
            model.write_text('another file')
        elif fault == 'deleted':
            model.unlink()
        else:
            os.truncate(model, 1000)
        assert client.answer(masks, image).data == first.data
        assert client.change_state(Transition.TRANSITION_DEACTIVATE)
        assert client.change_state(Transition.TRANSITION_CLEANUP)
        assert not client.change_state(Transition.TRANSITION_CONFIGURE)
        model.write_bytes(tiny_model.read_bytes())
        assert client.change_state(Transition.TRANSITION_CONFIGURE)
        assert client.change_state(Transition.TRANSITION_ACTIVATE)
        client.wait_until_matched()
        assert wait_for(lambda: client.send(image) and masks[-1] is not first, 'a mask')
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=20)[0]
    assert (process.returncode, 'Traceback' in output) == (0, False), output
    assert str(model) in output  # why it could not be configured


def test_a_full_disk_for_the_log_does_not_stop_the_node(
    client: Client, tiny_model: Path, tmp_path: Path, image: np.ndarray
) -> None:
    logs = tmp_path / 'logs'
    logs.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=4k', 'tmpfs', str(logs)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip('only root may mount a tiny file system')
    try:
        (logs / 'full').write_bytes(bytes(4096))
        environment = {**os.environ, 'ROS_LOG_DIR': str(logs)}
        with node_process('-p', f'model_path:={tiny_model}', env=environment) as process:
            client.wait_for_status('waiting for the first image')
            masks = client.listen('mask')
            client.wait_until_matched()
            for _ in range(20):
                client.camera.publish(Image())  # each is a warning
            client.answer(masks, image)
            process.send_signal(signal.SIGTERM)
            output = process.communicate(timeout=20)[0]
        assert (process.returncode, 'Traceback' in output) == (0, False), output
    finally:
        subprocess.run(['umount', str(logs)], check=True)


# Signals; while active, busy or starting they are in test_node.py


@pytest.mark.parametrize('stop', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('state', STATES)
def test_a_signal_ends_the_node_in_every_state(
    client: Client, tiny_model: Path, state: str, stop: signal.Signals
) -> None:
    with node_process('-p', 'autostart:=false', '-p', f'model_path:={tiny_model}') as process:
        client.wait_for_status('lifecycle state unconfigured')
        for transition in STATES[state]:
            assert client.change_state(transition)
        assert client.state() == state
        told = time.monotonic()
        process.send_signal(stop)
        output = process.communicate(timeout=20)[0]
        took = time.monotonic() - told
    assert (process.returncode, 'Traceback' in output) == (0, False), output
    assert took < 2.0


# Transports: conftest.py gives this process, and so every child, the profile


@pytest.mark.parametrize('plain', ['camera', 'node'])
def test_the_profile_and_plain_transports_exchange_kitti_frames(
    context: None, tiny_model: Path, plain: str
) -> None:
    environments = {'camera': dict(os.environ), 'node': dict(os.environ)}
    environments[plain] = plain_environment()
    client = Client(QoSProfile(depth=1))
    client.destroy_publisher(client.camera)
    try:
        with (
            node_process('-p', f'model_path:={tiny_model}', env=environments['node']),
            camera_process('--rate', '10', env=environments['camera']),
        ):
            masks = client.listen('mask')
            wait_for(lambda: len(masks) >= 20, '20 masks')
            assert (masks[0].height, masks[0].width) == (375, 1242)
    finally:
        client.close()
