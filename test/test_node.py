"""The node on a real ROS graph: an image goes in, and everything the contract names comes out."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from graph import (
    BEST_EFFORT,
    RELIABLE,
    Client,
    ReplacedEngine,
    bare_environment,
    node_process,
    plain_environment,
    running_node,
    wait_for,
)
from lifecycle_msgs.msg import State, Transition
from rcl_interfaces.srv import DescribeParameters, SetParametersAtomically
from rclpy.duration import Duration
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool

from road_seg_ros import checkpoint
from road_seg_ros import node as node_module
from road_seg_ros.engines import Engine
from road_seg_ros.image_msgs import compressed_to_bgr, image_to_bgr, to_image, to_jpeg
from road_seg_ros.node import RoadSegNode
from road_seg_ros.overlay import draw_overlay
from road_seg_ros.parameters import DECLARATIONS
from road_seg_ros.segmenter import RoadSegmenter

CONFIG = Path(__file__).parent.parent / 'config'
ROAD_SEG_NODE = [sys.executable, '-m', 'road_seg_ros.main']


@pytest.fixture
def node(client: Client, tiny_model: Path) -> Iterator[RoadSegNode]:
    with running_node(
        model_path=str(tiny_model), device='cpu', engine='torch', precision='fp32'
    ) as node:
        client.wait_until_matched()
        yield node


def _set(client: Client, **values: object) -> object:
    parameters = [Parameter(k, value=v).to_parameter_msg() for k, v in values.items()]
    request = SetParametersAtomically.Request(parameters=parameters)
    return client.ask(SetParametersAtomically, 'set_parameters_atomically', request).result


class SlowEngine(ReplacedEngine):
    """An engine that begins at once, and goes on when the gate is opened."""

    def __init__(self, segmenter: RoadSegmenter) -> None:
        self.gate, self.entered = threading.Event(), threading.Event()
        super().__init__(segmenter, self._wait)

    def _wait(self, engine: Engine, *request: Any) -> Any:
        self.entered.set()
        self.gate.wait(30.0)
        return engine.submit(*request)


# Images


def test_mask_keeps_the_header_and_size_of_its_image(
    node: RoadSegNode, client: Client, image: np.ndarray
) -> None:
    masks = client.listen('mask')
    mask = client.answer(masks, image, stamp_s=12.5, frame_id='front_left')
    assert mask.header.frame_id == 'front_left'
    assert (mask.header.stamp.sec, mask.header.stamp.nanosec) == (12, 500_000_000)
    assert (mask.height, mask.width, mask.encoding, mask.step) == (94, 310, 'mono8', 310)


def test_outputs_are_what_the_library_gives(
    node: RoadSegNode, client: Client, image: np.ndarray, tiny_model: Path
) -> None:
    names = ('mask', 'confidence', 'class_confidence', 'overlay')
    topics = {name: client.listen(name) for name in names}
    jpegs = client.listen('overlay/compressed', CompressedImage)
    stamp = client.send(image)
    wait_for(lambda: all(topics.values()) and jpegs, 'every output')
    expected = RoadSegmenter.from_checkpoint(tiny_model, 'cpu', 'torch', 'fp32')(image)
    mask, confidence, sure, overlay = (topics[name][0] for name in names)
    np.testing.assert_array_equal(image_to_bgr(mask)[..., 0], expected.mask)
    np.testing.assert_array_equal(image_to_bgr(confidence)[..., 0], expected.confidence)
    of_class = np.where(expected.mask, expected.confidence, 255 - expected.confidence)
    np.testing.assert_array_equal(image_to_bgr(sure)[..., 0], of_class)
    drawn = draw_overlay(image, expected.mask, (0, 255, 0), 0.5)
    np.testing.assert_array_equal(image_to_bgr(overlay), drawn)
    assert (confidence.encoding, sure.encoding, overlay.encoding) == ('mono8', 'mono8', 'bgr8')
    assert np.abs(compressed_to_bgr(jpegs[0]).astype(int) - drawn).mean() < 8
    for message in (mask, confidence, sure, overlay, jpegs[0]):
        assert message.header.stamp == stamp


@pytest.mark.parametrize('encoding', ['rgb8', 'mono8', 'padded'])
def test_other_encodings_give_the_same_mask(
    node: RoadSegNode, client: Client, image: np.ndarray, encoding: str
) -> None:
    masks = client.listen('mask')
    gray = np.repeat(image[..., :1], 3, axis=2)
    bgr = gray if encoding == 'mono8' else image
    expected = image_to_bgr(client.answer(masks, bgr))
    stamp = client.get_clock().now().to_msg()
    message = to_image(bgr, 'bgr8', masks[0].header)
    if encoding == 'rgb8':
        message = to_image(bgr[..., ::-1], 'rgb8', masks[0].header)
    elif encoding == 'mono8':
        message = to_image(gray[..., 0], 'mono8', masks[0].header)
    else:
        message.step += 7
        rows = np.pad(bgr.reshape(len(bgr), -1), ((0, 0), (0, 7)), constant_values=99)
        message.data = rows.tobytes()
    message.header.stamp = stamp
    client.camera.publish(message)
    mask = wait_for(lambda: next((m for m in masks if m.header.stamp == stamp), None), 'an answer')
    np.testing.assert_array_equal(image_to_bgr(mask), expected)


def test_malformed_images_are_rejected_and_the_next_good_one_answered(
    node: RoadSegNode, client: Client, image: np.ndarray
) -> None:
    masks = client.listen('mask')
    bad = to_image(image, 'bgr8', Image().header)
    bad.height += 1
    unknown = to_image(image, 'bgr8', Image().header)
    unknown.encoding = 'xyz9'
    for message in (bad, unknown, Image()):
        before = node._health.rejected
        client.camera.publish(message)
        wait_for(lambda before=before: node._health.rejected == before + 1, 'a rejection')
    assert client.answer(masks, image).height == 94
    status = client.wait_for_status('running')
    values = {v.key: v.value for v in status.values}
    assert values['rejected'] == '3'
    assert '/camera/image_raw' in values['last rejection']
    assert '0x0' in values['last rejection']


def test_images_that_are_all_rejected_are_told(node: RoadSegNode, client: Client) -> None:
    assert _set(client, no_image_timeout=0.5).successful
    client.statuses.clear()

    def told() -> bool:
        client.camera.publish(Image(encoding='xyz'))
        return any('none answered' in s.message and 'xyz' in s.message for s in client.statuses)

    wait_for(told, 'the rejections to be told')


def test_an_image_in_flight_is_not_answered_after_a_pause(
    node: RoadSegNode, client: Client, image: np.ndarray
) -> None:
    masks = client.listen('mask')
    slow = SlowEngine(node._segmenter)
    client.send(image)
    assert slow.entered.wait(30.0)
    client.ask(SetBool, 'enable', SetBool.Request(data=False))
    slow.gate.set()
    wait_for(lambda: node._health.dropped == 1, 'the image in flight to be dropped')
    client.ask(SetBool, 'enable', SetBool.Request(data=True))
    answer = client.answer(masks, image)
    assert masks == [answer]


def test_diagnostics_show_the_threshold_that_was_set(node: RoadSegNode, client: Client) -> None:
    assert _set(client, threshold=0.77).successful
    status = client.wait_for_status('waiting')
    assert {v.key: v.value for v in status.values}['threshold'] == '0.770'


def test_newest_frame_wins_while_inference_is_slow(
    node: RoadSegNode, client: Client, image: np.ndarray
) -> None:
    masks = client.listen('mask')
    client.answer(masks, image)
    slow = SlowEngine(node._segmenter)
    masks.clear()
    sent = []
    for count in range(1, 9):
        sent.append(client.send(image))
        wait_for(lambda count=count: node._health.received == 1 + count, 'the image to arrive')
    # Services and parameters answer while the network runs.
    assert _set(client, overlay_alpha=0.1).successful
    assert client.state() == 'active'
    slow.gate.set()
    wait_for(lambda: len(masks) >= 2, 'two masks')
    assert [m.header.stamp for m in masks] == [sent[0], sent[-1]]
    assert node._health.dropped == 6


def test_images_older_than_max_image_age_are_dropped(
    node: RoadSegNode, client: Client, image: np.ndarray
) -> None:
    masks = client.listen('mask')
    assert _set(client, max_image_age=5.0).successful
    client.send(image, stamp_s=client.get_clock().now().nanoseconds / 1e9 - 60.0)
    wait_for(lambda: node._health.dropped == 1, 'the old image to be dropped')
    fresh = client.answer(masks, image)
    assert masks == [fresh]


def test_compressed_images_are_taken_instead(
    client: Client, tiny_model: Path, image: np.ndarray
) -> None:
    camera = client.create_publisher(CompressedImage, '/camera/image_raw/compressed', RELIABLE)
    with running_node(model_path=str(tiny_model), engine='torch', input_transport='compressed'):
        masks = client.listen('mask')
        wait_for(camera.get_subscription_count, 'the node to subscribe')
        camera.publish(to_jpeg(image, Image().header))
        wait_for(lambda: masks, 'a mask')
        assert (masks[0].height, masks[0].width) == image.shape[:2]


def test_failing_inference_is_counted_and_ends_in_the_error_state(
    node: RoadSegNode, client: Client, image: np.ndarray
) -> None:
    masks = client.listen('mask')

    def fail(engine: Engine, *request: Any) -> None:
        raise RuntimeError('out of memory')

    ReplacedEngine(node._segmenter, fail)
    for count in range(1, 6):
        client.send(image)
        wait_for(lambda count=count: node._health.errors >= count, 'an error')
    wait_for(lambda: client.state() == 'unconfigured', 'error processing')
    for enabled in (False, True):
        client.ask(SetBool, 'enable', SetBool.Request(data=enabled))
    client.wait_for_status('failing: RuntimeError: out of memory')
    assert client.change_state(Transition.TRANSITION_CONFIGURE)
    assert client.change_state(Transition.TRANSITION_ACTIVATE)
    client.wait_until_matched()
    masks = client.listen('mask')
    assert client.answer(masks, image)


# Reliability


def _wait_for_reliability(node: RoadSegNode, wanted: ReliabilityPolicy) -> None:
    wait_for(
        lambda: node._input._subscription.qos_profile.reliability == wanted,
        'the subscription to match its publishers',
    )


@pytest.mark.parametrize('qos', [RELIABLE, BEST_EFFORT])
def test_any_publisher_is_matched(context: None, tiny_model: Path, image: np.ndarray, qos) -> None:
    client = Client(qos)
    try:
        with running_node(model_path=str(tiny_model), engine='torch') as node:
            masks = client.listen('mask')
            _wait_for_reliability(node, qos.reliability)
            client.wait_until_matched()
            wait_for(lambda: client.send(image) and masks, 'a mask')
    finally:
        client.close()


def test_a_best_effort_publisher_beside_a_reliable_one_is_heard(
    node: RoadSegNode, client: Client, image: np.ndarray
) -> None:
    masks = client.listen('mask')
    other = client.create_publisher(Image, '/camera/image_raw', BEST_EFFORT)
    _wait_for_reliability(node, ReliabilityPolicy.BEST_EFFORT)
    for publisher in (other, client.camera):
        masks.clear()
        message = to_image(image, 'bgr8', Image().header)
        wait_for(lambda p=publisher, m=message: p.publish(m) or masks, 'a mask')


@pytest.mark.parametrize('stamp_s', [None, 0.0])
def test_no_image_is_lost_or_answered_twice_while_the_reliability_changes(
    node: RoadSegNode, client: Client, image: np.ndarray, stamp_s: float | None
) -> None:
    small = image[:32, :32]
    seen, sent = [], []
    answer = node._input._callback

    def note(message: Image, missed: int) -> None:
        seen.append(message.header.frame_id)
        answer(message, missed)

    def send() -> None:
        sent.append(f'image {len(sent)}')
        client.send(small, stamp_s, sent[-1])

    node._input._callback = note
    send()
    wait_for(lambda: seen, 'the first image')
    if stamp_s is not None and node._input._last_publisher is None:
        pytest.skip('before Kilted, images without a stamp cannot be told from one another')

    def send_until(reliability: ReliabilityPolicy) -> None:
        def follows() -> bool:
            send()
            time.sleep(0.02)
            return (
                node._input._subscription.qos_profile.reliability == reliability
                and node._input._predecessor is None
            )

        wait_for(follows, f'{reliability.name} to take over')

    for _ in range(3):
        other = client.create_publisher(Image, '/camera/image_raw', BEST_EFFORT)
        send_until(ReliabilityPolicy.BEST_EFFORT)
        client.destroy_publisher(other)
        send_until(ReliabilityPolicy.RELIABLE)
    wait_for(lambda: seen[-1] == sent[-1], 'the last image')
    assert seen == sent
    assert node._health.missed == 0


@pytest.mark.parametrize('policies', [(RELIABLE, BEST_EFFORT), (BEST_EFFORT, RELIABLE)])
def test_a_camera_that_restarts_under_another_policy_is_heard(
    node: RoadSegNode, client: Client, image: np.ndarray, policies: tuple[QoSProfile, ...]
) -> None:
    masks = client.listen('mask')
    client.destroy_publisher(client.camera)
    for policy in policies:
        client.camera = client.create_publisher(Image, '/camera/image_raw', policy)
        masks.clear()
        wait_for(lambda: client.send(image) and masks, 'a mask')
        _wait_for_reliability(node, policy.reliability)
        client.destroy_publisher(client.camera)
    assert node._health.errors == 0


def test_remappings_are_applied_once_however_often_it_subscribes(
    client: Client, tiny_model: Path, image: np.ndarray
) -> None:
    rules = ('-r', 'camera/image_raw:=/front/image', '-r', '/front/image:=/rear/image')
    client.camera = client.create_publisher(Image, '/front/image', BEST_EFFORT)
    with node_process(*rules, '-p', f'model_path:={tiny_model}', '-p', 'engine:=torch'):
        masks = client.listen('mask')
        wait_for(lambda: client.send(image) and masks, 'a mask by the subscription made anew')
        assert client.count_subscribers('/rear/image') == 0


def test_a_forced_conflict_is_explained(context: None, tiny_model: Path) -> None:
    client = Client(BEST_EFFORT)
    try:
        with running_node(
            model_path=str(tiny_model),
            engine='torch',
            input_reliability='reliable',
            no_image_timeout=0.1,
        ):
            status = client.wait_for_status('QoS conflict: /test_client offers')
            assert 'input_reliability' in status.message
    finally:
        client.close()


def test_the_log_says_once_why_no_mask_comes_out(
    node: RoadSegNode, client: Client, image: np.ndarray, capfd: pytest.CaptureFixture
) -> None:
    client.destroy_publisher(client.camera)
    compressed = client.create_publisher(CompressedImage, '/camera/image_raw/compressed', RELIABLE)
    reason = '/camera/image_raw/compressed is there: set input_transport to compressed'
    for _ in range(3):
        client.wait_for_status(reason)
    client.destroy_publisher(compressed)
    for _ in range(2):
        client.wait_for_status('start the camera')
    client.camera = client.create_publisher(Image, '/camera/image_raw', RELIABLE)
    masks = client.listen('mask')
    wait_for(lambda: client.send(image) and masks, 'a mask')
    for _ in range(2):
        client.wait_for_status('no image for')
    log = capfd.readouterr().err
    assert (
        log.count(f'waiting for the first image: nobody publishes /camera/image_raw, but {reason}')
        == 1
    )
    assert log.count('start the camera, or remap') == 1
    assert log.count('no image for') == 1


def test_the_log_leaves_out_what_is_over_by_the_next_report(
    node: RoadSegNode, client: Client, image: np.ndarray, capfd: pytest.CaptureFixture
) -> None:
    masks = client.listen('mask')
    assert _set(client, no_image_timeout=1000.0).successful
    client.wait_for_status('waiting for the first image')
    capfd.readouterr()
    assert _set(client, no_image_timeout=0.1).successful
    client.wait_for_status('waiting for the first image: ')  # as if the camera was found only now
    wait_for(lambda: client.send(image) and masks, 'a mask')
    assert _set(client, no_image_timeout=1000.0).successful
    client.wait_for_status('running')
    assert 'waiting for the first image: ' not in capfd.readouterr().err


def test_the_start_line_names_a_threshold_that_was_set(
    context: None, tiny_model: Path, capfd: pytest.CaptureFixture
) -> None:
    for threshold, is_named in ((-1.0, False), (0.25, True)):
        with running_node(model_path=str(tiny_model), engine='torch', threshold=threshold):
            pass
        assert ('threshold set to 0.250' in capfd.readouterr().err) == is_named


def test_the_log_names_the_publisher_of_a_conflict(context: None, tiny_model: Path) -> None:
    client = Client(BEST_EFFORT)
    arguments = ('-p', f'model_path:={tiny_model}', '-p', 'input_reliability:=reliable')
    try:
        with node_process(*arguments) as process:
            for _ in range(2):  # a second apart: longer than a warning may take
                client.wait_for_status('QoS conflict: /test_client offers')
            process.send_signal(signal.SIGINT)
            output = process.communicate(timeout=20)[0]
    finally:
        client.close()
    assert 'QoS conflict: /test_client offers' in output
    assert 'UNKNOWN' not in output


def test_an_overlay_too_long_for_a_jpeg_costs_nothing_else(
    node: RoadSegNode, client: Client, capfd: pytest.CaptureFixture
) -> None:
    masks, overlays = client.listen('mask'), client.listen('overlay')
    compressed = client.listen('overlay/compressed', CompressedImage)
    wide = np.zeros((1, 65501, 3), np.uint8)
    for _ in range(6):  # five errors in a row would unload the model
        mask = client.answer(masks, wide)
        wait_for(lambda m=mask: overlays[-1:] and overlays[-1].header == m.header, 'the overlay')
    assert (node._health.errors, compressed) == (0, [])
    wait_for(lambda: node._health.published == 6, 'the count of masks')
    assert '65501x1 pixels do not fit into a JPEG' in capfd.readouterr().err


# Services, parameters, diagnostics


def test_enable_pauses_and_resumes(node: RoadSegNode, client: Client, image: np.ndarray) -> None:
    masks = client.listen('mask')
    response = client.ask(SetBool, 'enable', SetBool.Request(data=False))
    assert (response.success, response.message) == (True, 'paused')
    client.wait_for_status('paused')
    client.send(image)
    # In the node's hands before the request is; it takes images before requests.
    assert client.camera.wait_for_all_acked(Duration(seconds=10))
    response = client.ask(SetBool, 'enable', SetBool.Request(data=True))
    assert (response.success, response.message) == (True, 'running')
    answer = client.answer(masks, image)
    assert masks == [answer]


def test_every_image_is_counted_through_pauses(
    node: RoadSegNode, client: Client, image: np.ndarray
) -> None:
    for enabled in (False, True) * 5:
        for _ in range(10):
            client.send(image)
        client.ask(SetBool, 'enable', SetBool.Request(data=enabled))
    health = node._health

    def all_counted() -> bool:
        known = health.published + health.dropped + health.rejected + health.errors
        return health.received == known

    wait_for(all_counted, 'every image to become something')
    assert health.received > 0
    assert health.errors == 0


def test_a_node_that_is_enabled_but_not_active_says_so(client: Client, tiny_model: Path) -> None:
    with running_node(start=False, model_path=str(tiny_model), engine='torch'):
        response = client.ask(SetBool, 'enable', SetBool.Request(data=True))
    assert (response.success, response.message) == (True, 'enabled, but the node is not active')


def test_threshold_is_live(node: RoadSegNode, client: Client, image: np.ndarray) -> None:
    masks = client.listen('mask')
    for threshold, values in ((0.0, {255}), (1.0, {0}), (0, {255})):
        assert _set(client, threshold=threshold).successful
        assert set(client.answer(masks, image).data) == values
    assert _set(client, threshold=-1.0).successful
    client.answer(masks, image)
    assert node._segmenter.threshold == node._segmenter.info.threshold


@pytest.mark.parametrize(
    ('name', 'value', 'words'),
    [
        ('threshold', 1.5, ('threshold', '1.5', '1.0')),
        ('threshold', -0.5, ('threshold must be -1 or 0..1, got -0.5',)),
        ('threshold', float('nan'), ('threshold', 'nan')),
        ('threshold', 'high', ("threshold must be -1 or 0..1, got 'high'",)),
        ('threshold', 2, ('threshold must be -1 or 0..1, got 2',)),
        ('overlay_color', [0.0, 1.0, 2.0], ('overlay_color must be three of 0..255',)),
        ('overlay_color', [], ('overlay_color must be three of 0..255',)),
        ('device', 1, ('device must be auto, cpu, cuda, cuda:N, got 1',)),
        ('overlay_alpha', 2.0, ('overlay_alpha', '2.0', '1.0')),
        ('overlay_color', [0, 0], ('overlay_color must be three of 0..255, RGB, got [0, 0]',)),
        ('overlay_color', [0, 0, 256], ('overlay_color', '256')),
        ('device', 'gpu', ('device must be auto, cpu, cuda, cuda:N', "'gpu'")),
        ('engine', 'onnx', ('engine must be auto, torch, openvino', "'onnx'")),
        ('precision', 'fp8', ('precision must be auto, fp32', "'fp8'")),
        ('input_transport', 'udp', ('input_transport must be raw, compressed', "'udp'")),
        ('input_reliability', 'best', ('input_reliability must be auto', "'best'")),
        ('max_image_age', -1.0, ('max_image_age', '-1.0')),
        ('no_image_timeout', 0.0, ('no_image_timeout must be above 0, got 0.0',)),
        ('autostart', False, ('autostart',)),
    ],
)
def test_a_bad_value_is_rejected_with_name_range_and_value(
    node: RoadSegNode, client: Client, name: str, value: object, words: tuple[str, ...]
) -> None:
    before = node.get_parameter(name).value
    result = _set(client, **{name: value})
    assert not result.successful
    for word in words:
        assert word in result.reason
    assert node.get_parameter(name).value == before


def test_several_parameters_are_set_all_or_none(node: RoadSegNode, client: Client) -> None:
    assert not _set(client, overlay_alpha=0.2, overlay_color=[1, 2]).successful
    assert node.get_parameter('overlay_alpha').value == 0.5
    assert node._settings.overlay_alpha == 0.5
    assert _set(client, overlay_alpha=0.2, overlay_color=[1, 2, 3]).successful
    assert (node._settings.overlay_alpha, node._settings.overlay_color) == (0.2, (1, 2, 3))


def test_a_fixed_parameter_says_that_it_waits_for_configure(
    node: RoadSegNode, client: Client, capfd: pytest.CaptureFixture
) -> None:
    assert _set(client, precision='bf16').successful
    assert 'precision: takes effect at the next configure' in capfd.readouterr().err
    assert node._segmenter.engine.precision == 'fp32'
    for transition in (
        Transition.TRANSITION_DEACTIVATE,
        Transition.TRANSITION_CLEANUP,
        Transition.TRANSITION_CONFIGURE,
    ):
        assert client.change_state(transition)
    assert node._segmenter.engine.precision == 'bf16'


def test_a_misspelt_parameter_is_named_and_another_nodes_is_not(
    context: None, capfd: pytest.CaptureFixture
) -> None:
    with running_node(start=False, treshold=0.3, image_transport='raw', rate=10):
        pass
    log = capfd.readouterr().err
    assert 'ignored the parameter treshold; did you mean threshold?' in log
    assert 'ignored the parameter image_transport; did you mean input_transport?' in log
    assert log.count('ignored the parameter') == 2


def test_every_parameter_is_described(node: RoadSegNode, client: Client) -> None:
    names = [declaration.name for declaration in DECLARATIONS]
    request = DescribeParameters.Request(names=names)
    response = client.ask(DescribeParameters, 'describe_parameters', request)
    for declaration, descriptor in zip(DECLARATIONS, response.descriptors, strict=True):
        assert declaration.description in descriptor.description
        assert declaration.effect in descriptor.description
        assert descriptor.additional_constraints == declaration.rule


def test_parameter_file_has_every_parameter_with_its_default() -> None:
    content = yaml.safe_load((CONFIG / 'seg.yaml').read_text())
    values = content['/**']['ros__parameters']
    assert values == {declaration.name: declaration.default for declaration in DECLARATIONS}


def test_diagnostics_name_model_device_and_rates(
    node: RoadSegNode, client: Client, image: np.ndarray, tiny_model: Path
) -> None:
    client.wait_for_status('waiting for the first image')
    masks = client.listen('mask')
    for _ in range(5):
        client.answer(masks, image)
    status = client.wait_for_status('running')
    values = {v.key: v.value for v in status.values}
    assert values['model'] == checkpoint.load_info(tiny_model).describe()
    assert (values['device'], values['engine'], values['precision']) == ('cpu', 'torch', 'fp32')
    assert values['threshold'] == '0.500'
    assert values['published'] == '5'
    for key in ('input rate (Hz)', 'output rate (Hz)', 'inference median (ms)'):
        assert float(values[key]) > 0
    assert float(values['pipeline p95 (ms)']) >= float(values['pipeline median (ms)'])
    wait_for(lambda: 'no image for' in client.statuses[-1].message, 'silence to be noticed')


# Lifecycle


def test_lifecycle_goes_round_by_service(client: Client, tiny_model: Path, image) -> None:
    with running_node(start=False, model_path=str(tiny_model), engine='torch') as node:
        assert client.state() == 'unconfigured'
        for _ in range(2):
            assert client.change_state(Transition.TRANSITION_CONFIGURE)
            assert client.state() == 'inactive'
            assert client.change_state(Transition.TRANSITION_ACTIVATE)
            client.wait_until_matched()
            masks = client.listen('mask')
            assert client.answer(masks, image)
            assert client.change_state(Transition.TRANSITION_DEACTIVATE)
            assert client.change_state(Transition.TRANSITION_CLEANUP)
            assert node._segmenter is None
        assert client.change_state(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
        assert client.state() == 'finalized'


def test_a_bad_model_leaves_the_node_unconfigured(client: Client, tiny_model: Path) -> None:
    with running_node(start=False, model_path='/no/such/model') as node:
        assert not client.change_state(Transition.TRANSITION_CONFIGURE)
        assert client.state() == 'unconfigured'
        assert _set(client, model_path=str(tiny_model), engine='torch').successful
        assert client.change_state(Transition.TRANSITION_CONFIGURE)
        assert node._state_machine.current_state[0] == State.PRIMARY_STATE_INACTIVE


# The process


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['-p', 'threshold:=1.5'], ('threshold', '1.5')),
        (['-p', 'threshold:=-0.5'], ('threshold must be -1 or 0..1, got -0.5',)),
        (['-p', 'threshold:=high'], ("threshold must be -1 or 0..1, got 'high'",)),
        (['-p', 'overlay_color:=[1, 2]'], ('overlay_color', '[1, 2]')),
        (['-p', 'device:=gpu'], ('device must be auto, cpu, cuda, cuda:N', "'gpu'")),
        (['-p', 'device:=cuda:99'], ("device 'cuda:99' was asked for",)),
        (['-p', 'model_path:=/no/model'], ("'/no/model' does not exist",)),
        (['-p', f'model_path:={__file__}'], ('test_node.py', 'not a complete .safetensors')),
        (['--no-such-argument'], ('bad ROS arguments', '--no-such-argument')),
        (['-p', 'use_sim_time:=5'], ('use_sim_time', '5')),
    ],
)
def test_a_bad_start_ends_with_one_line_and_a_status(
    arguments: list[str], words: tuple[str, ...]
) -> None:
    with node_process(*arguments) as process:
        output = process.communicate(timeout=60)[0]
    lines = [line for line in output.splitlines() if re.search('ERROR|FATAL|bad ROS', line)]
    assert process.returncode == 1
    assert 'Traceback' not in output
    assert len(lines) == 1, output
    for word in words:
        assert word in lines[0]


def _run_program(*arguments: str) -> subprocess.CompletedProcess:
    command = [*ROAD_SEG_NODE, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_parameter_without_its_option_is_refused() -> None:
    result = _run_program('threshold:=0.3')
    assert result.returncode == 2
    assert 'unrecognized arguments: threshold:=0.3' in result.stderr
    assert '--ros-args [-p PARAMETER:=VALUE]' in result.stderr


def test_help_names_every_parameter_with_its_default_and_starts_no_node() -> None:
    result = _run_program('--help')
    assert (result.returncode, result.stderr) == (0, '')
    defaults = dict(re.findall(r'^  (\w+) = (.+) \(', result.stdout, re.MULTILINE))
    assert {k: yaml.safe_load(v) for k, v in defaults.items()} == {
        declaration.name: declaration.default for declaration in DECLARATIONS
    }


def test_a_log_folder_that_cannot_be_made_is_told() -> None:
    with node_process(env={**os.environ, 'ROS_LOG_DIR': '/proc/none'}) as process:
        output = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert 'ROS does not start' in output
    assert "'/proc/none'" in output


@pytest.mark.parametrize(
    'stop', [[signal.SIGINT], [signal.SIGTERM], [signal.SIGHUP], [signal.SIGINT] * 3]
)
@pytest.mark.parametrize('busy', [False, True])
def test_signals_end_the_node_cleanly(
    client: Client, tiny_model: Path, image: np.ndarray, stop: list[signal.Signals], busy: bool
) -> None:
    with node_process('-p', f'model_path:={tiny_model}', '-p', 'engine:=torch') as process:
        client.wait_for_status('waiting for the first image')
        if busy:
            masks = client.listen('mask')
            wait_for(lambda: client.send(image) and masks, 'a mask')
            for _ in range(20):
                client.send(image)
        told = time.monotonic()
        for number in stop:
            process.send_signal(number)
            time.sleep(0.03)  # as from a terminal and from ros2 launch
        output = process.communicate(timeout=20)[0]
        took = time.monotonic() - told
    assert (process.returncode, 'Traceback' in output) == (0, False), output
    assert took < 2.0


def _catches(pid: int, number: signal.Signals) -> bool:
    status = Path(f'/proc/{pid}/status').read_text()
    caught = int(re.search(r'SigCgt:\s*(\w+)', status)[1], 16)
    return bool(caught >> (number - 1) & 1)


@pytest.mark.parametrize('stop', [signal.SIGINT, signal.SIGTERM])
def test_the_log_file_is_complete_when_the_node_has_ended(
    client: Client, tiny_model: Path, tmp_path: Path, stop: signal.Signals
) -> None:
    environment = {**os.environ, 'ROS_LOG_DIR': str(tmp_path)}
    with node_process('-p', f'model_path:={tiny_model}', env=environment) as process:
        client.wait_for_status('waiting for the first image')
        process.send_signal(stop)
        assert process.wait(20) == 0
    [log] = [path for path in tmp_path.glob('*.log') if not path.is_symlink()]
    assert 'libraries ready' in log.read_text()
    assert str(tiny_model) in log.read_text()


@pytest.mark.parametrize('closed', ['>&-', '>&- 2>&-'])
def test_a_node_whose_streams_are_closed_goes_on(
    client: Client, tiny_model: Path, tmp_path: Path, closed: str
) -> None:
    command = [*ROAD_SEG_NODE, '--ros-args', '-p', f'model_path:={tiny_model}']
    process = subprocess.Popen(
        ['sh', '-c', f'exec "$@" {closed}', 'sh', *command],
        env={**os.environ, 'ROS_LOG_DIR': str(tmp_path)},
    )
    try:
        for _ in range(4):  # three seconds
            client.wait_for_status('waiting for the first image')
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
    [log] = [path for path in tmp_path.glob('*.log') if not path.is_symlink()]
    assert 'libraries ready' in log.read_text()


def test_nohup_keeps_the_node(client: Client, tiny_model: Path) -> None:
    command = [*ROAD_SEG_NODE, '--ros-args', '-p', f'model_path:={tiny_model}']
    ignore = partial(signal.signal, signal.SIGHUP, signal.SIG_IGN)
    process = subprocess.Popen(command, preexec_fn=ignore, stdout=subprocess.DEVNULL)
    try:
        client.wait_for_status('waiting for the first image')
        process.send_signal(signal.SIGHUP)
        client.wait_for_status('waiting for the first image')
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()


def _shared_memory_of(pid: int) -> set[Path]:
    """Return the segments of Fast DDS that a process has opened, its own and others'."""
    mapped = Path(f'/proc/{pid}/maps').read_text()
    return set(map(Path, re.findall(r'/dev/shm/fast[a-z]+_[0-9a-f]{16}\b', mapped)))


@pytest.mark.parametrize('stop', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_node_that_ends_leaves_no_shared_memory(
    client: Client, tiny_model: Path, stop: signal.Signals
) -> None:
    before = set(Path('/dev/shm').iterdir())
    with node_process('-p', f'model_path:={tiny_model}') as process:
        client.wait_for_status('waiting for the first image')
        own = _shared_memory_of(process.pid) - before
        assert own
        process.send_signal(stop)
        assert process.wait(20) == 0
    assert not any(path.exists() for path in own)


@pytest.mark.parametrize(
    ('environment', 'has_profile'), [(bare_environment, True), (plain_environment, False)]
)
def test_a_node_takes_the_transport_profile_unless_transports_are_chosen(
    client: Client, tiny_model: Path, environment: Callable[[], dict[str, str]], has_profile: bool
) -> None:
    before = set(Path('/dev/shm').iterdir())
    with node_process('-p', f'model_path:={tiny_model}', env=environment()) as process:
        client.wait_for_status('waiting for the first image')
        sizes = [path.stat().st_size for path in _shared_memory_of(process.pid) - before]
    assert sizes
    assert (max(sizes) > 64 * 2**20) == has_profile


@pytest.mark.parametrize('outcome', ['raise RuntimeError("cannot convert")', 'return 1'])
def test_an_exit_that_native_code_turned_into_an_error_is_still_one(outcome: str) -> None:
    program = f"""
import os, signal
from road_seg_ros import main
def run(args):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    except SystemExit:
        {outcome}
main._run = run
main.main()
"""
    result = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, '')


@pytest.mark.parametrize('attempt', range(4))
def test_two_signals_at_once_are_one_end(attempt: int) -> None:
    program = """
from road_seg_ros import main
def run(args):
    print('running', flush=True)
    while True:
        sum(range(100))
main._run = run
main.main()
"""
    process = subprocess.Popen(
        [sys.executable, '-c', program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    error = process.communicate(timeout=20)[1]
    assert (process.returncode, error) == (0, '')


def test_a_program_that_ends_without_destroying_the_node_waits_for_its_thread(
    tiny_model: Path,
) -> None:
    program = f"""
import atexit, sys, threading
import rclpy
from rclpy.parameter import Parameter
from road_seg_ros.node import RoadSegNode
atexit.register(lambda: print([thread.name for thread in threading.enumerate()]))
rclpy.init()
overrides = {{'model_path': '{tiny_model}', 'engine': 'torch', 'autostart': False}}
node = RoadSegNode(parameter_overrides=[Parameter(k, value=v) for k, v in overrides.items()])
assert node.start()
assert 'inference' in [thread.name for thread in threading.enumerate()]
node.create_timer(0.1, sys.exit)
rclpy.spin(node)
"""
    result = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "['MainThread']\n"), result


@pytest.mark.parametrize('moment', ['rclpy.init', 'engines.preload', 'rclpy.task.Future.done'])
def test_a_signal_while_an_object_is_destroyed_ends_the_node_too(
    tiny_model: Path, moment: str
) -> None:
    # Before ROS, while the libraries load, and in the spin: there Python drops a signal's exit.
    owner, _, function = moment.rpartition('.')
    program = f"""
import os, signal
from road_seg_ros import engines, main
import rclpy, rclpy.task
class Destroyed:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        print('destroyed')
original = {owner}.{function}
def wrapped(*arguments, **options):
    {owner}.{function} = original
    Destroyed()
    return original(*arguments, **options)
{owner}.{function} = wrapped
main.GRACE_S = 60.0  # nobody waits for that
main.main(['--ros-args', '-p', 'engine:=torch', '-p', 'model_path:={tiny_model}'])
"""
    result = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, timeout=30
    )
    assert result.returncode == 0, result
    assert 'Traceback' not in result.stderr + result.stdout


@pytest.mark.parametrize('stop', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('after_s', [0.0, 0.3, 1.0, 2.0])
def test_a_signal_during_start_up_ends_the_node(
    tiny_model: Path, stop: signal.Signals, after_s: float
) -> None:
    with node_process('-p', f'model_path:={tiny_model}', '-p', 'engine:=torch') as process:
        wait_for(lambda: _catches(process.pid, signal.SIGTERM), 'the program to begin')
        time.sleep(after_s)  # into the import of rclpy, of torch, into loading the model
        process.send_signal(stop)
        told = time.monotonic()
        output = process.communicate(timeout=20)[0]
        took = time.monotonic() - told
    assert (process.returncode, 'Traceback' in output) == (0, False), output
    assert took < 5.0  # mostly the import that was under way, on a busy machine


def test_a_cv_bridge_that_crashes_costs_a_warning(
    client: Client, tiny_model: Path, image: np.ndarray, tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / 'cv_bridge').mkdir()
    (tmp_path / 'cv_bridge' / '__init__.py').write_text('import os\nos.abort()\n')
    monkeypatch.setenv('PYTHONPATH', f'{tmp_path}:{os.environ.get("PYTHONPATH", "")}')
    with node_process('-p', f'model_path:={tiny_model}', '-p', 'engine:=torch') as process:
        client.wait_for_status('waiting for the first image')
        masks = client.listen('mask')
        message = to_image(image[..., ::-1], 'rgb8', Image().header)
        wait_for(lambda: client.camera.publish(message) or len(masks) > 2, 'masks')
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=20)[0]
    assert (process.returncode, 'Traceback' in output) == (0, False), output
    assert output.count("cv_bridge does not work: its process ends with 'Aborted'") == 1, output


@pytest.mark.parametrize(('chosen', 'policy'), [('', 'PASSIVE'), ('active', 'ACTIVE')])
def test_the_threads_of_pytorch_sleep_while_they_wait(
    client: Client, tiny_model: Path, chosen: str, policy: str
) -> None:
    environment = {n: v for n, v in os.environ.items() if n != 'OMP_WAIT_POLICY'}
    environment['OMP_DISPLAY_ENV'] = 'TRUE'  # OpenMP tells when it is loaded
    if chosen:
        environment['OMP_WAIT_POLICY'] = chosen
    arguments = ('-p', f'model_path:={tiny_model}', '-p', 'engine:=torch')
    with node_process(*arguments, env=environment) as process:
        client.wait_for_status('waiting for the first image')
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=20)[0]
    assert f"OMP_WAIT_POLICY = '{policy}'" in output, output


def test_autostart_false_waits_for_a_manager(client: Client, tiny_model: Path) -> None:
    with node_process('-p', f'model_path:={tiny_model}', '-p', 'autostart:=false') as process:
        client.wait_for_status('inactive: lifecycle state unconfigured')
        assert process.poll() is None
        assert client.change_state(Transition.TRANSITION_CONFIGURE)
        assert client.state() == 'inactive'


def test_topics_can_be_remapped_and_namespaced(context: None, tiny_model: Path, image) -> None:
    client = Client(node='/car/road_seg')
    try:
        camera = client.create_publisher(Image, '/car/front/image', RELIABLE)
        with node_process(
            *('-r', '__ns:=/car', '-r', 'camera/image_raw:=front/image'),
            *('-p', f'model_path:={tiny_model}'),
        ):
            masks = client.listen('mask')
            wait_for(camera.get_subscription_count, 'the node to subscribe')
            message = to_image(image, 'bgr8', Image().header)
            wait_for(lambda: camera.publish(message) or masks, 'a mask')
    finally:
        client.close()


def test_label_info_is_published_where_vision_msgs_is_installed(
    node: RoadSegNode, client: Client
) -> None:
    vision_msgs = pytest.importorskip('vision_msgs.msg', reason='vision_msgs is not installed')
    from road_seg_ros.outputs import LATCHED_QOS

    messages = client.listen('label_info', vision_msgs.LabelInfo, LATCHED_QOS)
    wait_for(lambda: messages, 'label info')
    assert {c.class_id: c.class_name for c in messages[0].class_map} == {
        0: 'not_drivable',
        255: 'drivable',
    }


def test_openvino_needs_no_torch(
    client: Client, tiny_model: Path, image: np.ndarray, tmp_path: Path
) -> None:
    pytest.importorskip('openvino', reason='openvino is not installed')
    (tmp_path / 'torch.py').write_text('raise ImportError("not here")')
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get('PYTHONPATH')])])
    environment = {**os.environ, 'PYTHONPATH': path}
    with node_process(
        '-p', f'model_path:={tiny_model}', '-p', 'device:=cpu', env=environment
    ) as process:
        masks = client.listen('mask')
        wait_for(lambda: client.send(image) and masks, 'a mask')
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=20)[0]
    assert 'openvino' in output


def test_a_missing_torch_is_named(tiny_model: Path) -> None:
    code = 'import sys; sys.modules["torch"] = None; from road_seg_ros.main import main; '
    code += 'sys.exit(main(sys.argv[1:]))'
    command = [sys.executable, '-c', code, '--ros-args', '-p', f'model_path:={tiny_model}']
    command += ['-p', 'engine:=torch']
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert 'Traceback' not in result.stderr
    assert f'{sys.executable} needs torch and safetensors' in result.stderr


def test_training_code_is_not_needed_by_the_node() -> None:
    code = (
        'import sys; import road_seg_ros.node, road_seg_ros.segmenter as s; '
        'bad = {"torchvision", "lightning", "training"} & set(sys.modules); assert not bad, bad'
    )
    subprocess.run([sys.executable, '-c', code], check=True)


def test_another_source_of_masks_is_told_once(
    node: RoadSegNode,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(node_module, 'RIVAL_S', 1.5)
    words = 'publishes /road_seg/mask too'

    def reports(count: int) -> None:
        seen = len(client.statuses)
        wait_for(lambda: len(client.statuses) >= seen + count, 'diagnostics')

    reports(4)
    log = capfd.readouterr().err
    assert words not in log  # it is alone
    for _ in range(2):  # and is told again if it comes back
        publisher = client.create_publisher(Image, '/road_seg/mask', RELIABLE)
        reports(1)
        log = capfd.readouterr().err
        assert words not in log  # not at once: one that was killed is still there for a while
        reports(5)
        log = capfd.readouterr().err
        assert log.count(f'/test_client {words}') == log.count(words) == 1
        client.destroy_publisher(publisher)
        reports(2)


def test_a_second_node_of_the_same_name_is_a_rival(node: RoadSegNode, tiny_model: Path) -> None:
    assert node._outputs.rivals() == []
    with node_process('-p', f'model_path:={tiny_model}', '-p', 'engine:=torch'):
        wait_for(lambda: node._outputs.rivals() == ['/road_seg'], 'the rival')
    wait_for(lambda: node._outputs.rivals() == [], 'its end')
