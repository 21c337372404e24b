"""The node as a managed node: every transition, errors, memory, simulated time."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from graph import Client, ReplacedEngine, node_process, running_node, wait_for
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetAvailableTransitions
from rclpy.lifecycle.node import LifecycleNodeMixin
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock

from road_seg_ros.engines import Engine, Segmentation, Wanted
from road_seg_ros.latest_frame import LatestFrame
from road_seg_ros.node import RoadSegNode
from road_seg_ros.outputs import Outputs

CONFIGURE = Transition.TRANSITION_CONFIGURE
CLEANUP = Transition.TRANSITION_CLEANUP
ACTIVATE = Transition.TRANSITION_ACTIVATE
DEACTIVATE = Transition.TRANSITION_DEACTIVATE
SHUTDOWNS = {
    'unconfigured': Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
    'inactive': Transition.TRANSITION_INACTIVE_SHUTDOWN,
    'active': Transition.TRANSITION_ACTIVE_SHUTDOWN,
}
LEADS_TO = {
    ('unconfigured', CONFIGURE): 'inactive',
    ('inactive', ACTIVATE): 'active',
    ('active', DEACTIVATE): 'inactive',
    ('inactive', CLEANUP): 'unconfigured',
    **dict.fromkeys(SHUTDOWNS.items(), 'finalized'),
}
WAY_TO = {
    'unconfigured': (),
    'inactive': (CONFIGURE,),
    'active': (CONFIGURE, ACTIVATE),
    'finalized': (SHUTDOWNS['unconfigured'],),
}
EVERY_TRANSITION = (CONFIGURE, CLEANUP, ACTIVATE, DEACTIVATE, *SHUTDOWNS.values())
MB = 1e6


@pytest.mark.parametrize('state', WAY_TO)
def test_every_transition_from_every_state(client: Client, tiny_model: Path, state: str) -> None:
    for transition in EVERY_TRANSITION:
        with running_node(start=False, model_path=str(tiny_model), engine='torch'):
            for step in WAY_TO[state]:
                assert client.change_state(step)
            assert client.state() == state
            end = LEADS_TO.get((state, transition))
            assert client.change_state(transition) == (end is not None)
            assert client.state() == (end or state)


def test_no_event_is_left_that_could_end_an_executor_with_several_threads(
    context: None, tiny_model: Path
) -> None:
    """Only what ends while the node goes on: rclpy takes no events of it into a wait set."""
    with running_node(model_path=str(tiny_model), engine='torch') as node:
        ending = [node._input._subscription, *node._outputs._publishers]
        assert len(ending) >= 6
        assert [handler for entity in ending for handler in entity.event_handlers] == []


@pytest.mark.parametrize(
    ('owner', 'method', 'transition'),
    [
        (Outputs, 'publish_label_info', ACTIVATE),
        (LatestFrame, 'clear', DEACTIVATE),
        (Outputs, 'close', CLEANUP),
    ],
)
def test_what_a_transition_raises_is_on_the_log(
    client: Client,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
    owner: type,
    method: str,
    transition: int,
) -> None:
    def explode(_: object) -> None:
        raise RuntimeError('it exploded')

    with running_node(start=False, model_path=str(tiny_model), engine='torch'):
        before = {ACTIVATE: 'inactive', DEACTIVATE: 'active', CLEANUP: 'inactive'}[transition]
        for step in WAY_TO[before]:
            assert client.change_state(step)
        with monkeypatch.context() as patch:
            patch.setattr(owner, method, explode)
            assert not client.change_state(transition)
        name = {ACTIVATE: 'activate', DEACTIVATE: 'deactivate', CLEANUP: 'cleanup'}[transition]
        assert f'on_{name} failed: RuntimeError: it exploded' in capfd.readouterr().err


def test_an_image_of_the_last_activation_does_not_meet_the_parts_of_this_one(
    client: Client, tiny_model: Path, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, go_on = threading.Event(), threading.Event()
    used = []

    def hold(engine: Engine, pixels: np.ndarray, wanted: Wanted) -> object:
        used.append(threading.current_thread())
        return engine.submit(pixels, wanted)

    with running_node(model_path=str(tiny_model), engine='torch') as node:
        client.wait_until_matched()
        convert = node._input._to_bgr

        def convert_slowly(message: object) -> np.ndarray:
            held.set()
            assert go_on.wait(30.0)
            return convert(message)

        monkeypatch.setattr(node._input, '_to_bgr', convert_slowly)
        old = node._thread
        client.send(image)
        assert held.wait(30.0)
        for transition in (DEACTIVATE, CLEANUP, CONFIGURE, ACTIVATE):
            assert client.change_state(transition)
        ReplacedEngine(node._segmenter, hold)
        go_on.set()
        old.join(30.0)
        masks = client.listen('mask')
        client.wait_until_matched()
        wait_for(lambda: client.send(image) and masks, 'a mask')
        assert used and old not in used
        assert node._health.errors == 0


def test_a_node_in_another_program_starts_itself_when_it_is_spun(
    client: Client, tiny_model: Path
) -> None:
    with running_node(start=False, autostart=True, model_path=str(tiny_model), engine='torch'):
        wait_for(lambda: client.state() == 'active', 'the node to be active')


def test_why_it_could_not_be_configured_is_in_the_diagnostics(
    client: Client, tiny_model: Path
) -> None:
    with running_node(start=False, model_path='/no/model', engine='torch') as node:
        assert not client.change_state(CONFIGURE)
        status = client.wait_for_status('inactive: cannot configure: ')
        assert "'/no/model' does not exist" in status.message
        node.set_parameters([Parameter('model_path', value=str(tiny_model))])
        assert client.change_state(CONFIGURE)
        assert client.wait_for_status('inactive').message == 'inactive: lifecycle state inactive'


def test_an_impossible_transition_does_not_end_the_node_where_rclpy_lets_it(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As before Kilted, which catches what the state machine raises."""

    def change(node: RoadSegNode, request: ChangeState.Request, response: object) -> object:
        node._state_machine.trigger_transition_by_id(request.transition.id, True)
        return response

    monkeypatch.setattr(LifecycleNodeMixin, '_LifecycleNodeMixin__on_change_state', change)
    with running_node(start=False):
        assert not client.change_state(ACTIVATE)
        assert client.state() == 'unconfigured'


def test_the_transitions_of_a_state_are_told(client: Client, tiny_model: Path) -> None:
    with running_node(model_path=str(tiny_model), engine='torch'):
        request = GetAvailableTransitions.Request()
        response = client.ask(GetAvailableTransitions, 'get_available_transitions', request)
        told = {t.transition.label for t in response.available_transitions}
        assert {'deactivate', 'shutdown'} <= told


def test_a_destroyed_node_leaves_the_graph(client: Client) -> None:
    gc.collect()
    gc.disable()  # the collector would do it late, and by chance
    try:
        with running_node(start=False):
            wait_for(lambda: 'road_seg' in client.get_node_names(), 'the node to appear')
        wait_for(lambda: 'road_seg' not in client.get_node_names(), 'the node to leave')
    finally:
        gc.enable()


def test_ten_rounds_leak_nothing(client: Client, image: np.ndarray) -> None:
    """With the model that ships and the engine that a user gets."""
    with node_process('-p', 'autostart:=false') as process:
        memory = psutil.Process(process.pid)
        client.wait_for_status('lifecycle state unconfigured')
        unconfigured = []
        for _ in range(10):
            unconfigured.append(memory.memory_info().rss)
            for transition in (CONFIGURE, ACTIVATE):
                assert client.change_state(transition)
            masks = client.listen('mask')
            wait_for(lambda masks=masks: client.send(image) and masks, 'a mask')
            for transition in (DEACTIVATE, CLEANUP):
                assert client.change_state(transition)
        unconfigured.append(memory.memory_info().rss)
    # The first round makes the libraries' threads and, once for each model, compiles: those stay.
    growth = [(after - unconfigured[1]) / MB for after in unconfigured[1:]]
    assert max(growth) < 20, growth


def test_cleanup_does_not_wait_for_an_inference_that_hangs(
    client: Client, tiny_model: Path, image: np.ndarray
) -> None:
    with running_node(model_path=str(tiny_model), engine='torch') as node:
        client.wait_until_matched()
        gate, entered = threading.Event(), threading.Event()

        def hang(_: Engine, image: np.ndarray, __: Wanted) -> Callable[[], Segmentation]:
            entered.set()
            assert gate.wait(30.0)
            return lambda: Segmentation(np.full(image.shape[:2], 255, np.uint8), None)

        closed_by = []
        ReplacedEngine(node._segmenter, hang).close = lambda: closed_by.append(
            threading.current_thread().name
        )
        late = client.send(image)
        assert entered.wait(30.0)
        began = time.monotonic()
        for transition in (DEACTIVATE, CLEANUP, CONFIGURE, ACTIVATE):
            assert client.change_state(transition)
        assert time.monotonic() - began < 20.0
        assert not closed_by  # under the hands of the inference
        masks = client.listen('mask')
        client.wait_until_matched()
        gate.set()  # what hung goes on now, in a node that has forgotten it
        stamp = client.send(image)
        wait_for(lambda: any(m.header.stamp == stamp for m in masks), 'the new image')
        assert all(m.header.stamp != late for m in masks)
        assert node._health.errors == 0
        assert closed_by == ['inference']


def test_cleanup_does_not_wait_for_a_device_that_hangs(client: Client, tiny_model: Path) -> None:
    with running_node(model_path=str(tiny_model), engine='torch') as node:
        gate = threading.Event()
        engine = node._segmenter.engine
        ReplacedEngine(node._segmenter, engine.submit).close = lambda: gate.wait(30.0)
        began = time.monotonic()
        for transition in (DEACTIVATE, CLEANUP):
            assert client.change_state(transition)
        assert time.monotonic() - began < 10.0
        gate.set()


def test_a_failure_is_forgotten_with_the_model(client: Client, tiny_model: Path) -> None:
    with running_node(model_path=str(tiny_model), engine='torch') as node:
        node._health.inference_failed('once')
        for transition in (DEACTIVATE, CLEANUP):
            assert client.change_state(transition)
        client.wait_for_status('inactive: lifecycle state unconfigured')


def test_a_hanging_inference_shows_in_the_diagnostics(
    client: Client, tiny_model: Path, image: np.ndarray
) -> None:
    with running_node(model_path=str(tiny_model), engine='torch', no_image_timeout=1.0) as node:
        client.wait_until_matched()
        gate = threading.Event()
        engine = node._segmenter.engine
        ReplacedEngine(
            node._segmenter,
            lambda engine, *request: gate.wait(30.0) and engine.submit(*request),
        )
        client.statuses.clear()

        def told() -> bool:
            client.send(image)
            return any('none answered' in status.message for status in client.statuses)

        wait_for(told, 'the hang to be told')
        node._segmenter.engine = engine
        gate.set()
        masks = client.listen('mask')
        wait_for(lambda: client.send(image) and masks, 'a mask')


def test_answers_that_are_not_finite_are_errors_and_no_masks(
    client: Client, tiny_model: Path, image: np.ndarray
) -> None:
    with running_node(model_path=str(tiny_model), engine='torch') as node:
        client.wait_until_matched()
        masks = client.listen('mask')
        engine = node._segmenter.engine
        run = engine._model
        engine._model = lambda pixels: run(pixels) * np.nan
        client.send(image)
        wait_for(lambda: node._health.errors, 'the error')
        assert 'not finite' in node._health.last_error
        assert 'precision fp32' in node._health.last_error
        engine._model = run
        stamp = client.send(image)
        wait_for(lambda: masks, 'a mask')
        assert [m.header.stamp for m in masks] == [stamp]


# Simulated time


class SimulatedClock:
    """Publishes /clock; a test moves it."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._publisher = client.create_publisher(Clock, '/clock', 10)
        wait_for(self._publisher.get_subscription_count, 'somebody to take /clock')

    def set(self, seconds: float) -> None:
        message = Clock()
        message.clock.sec = int(seconds)
        message.clock.nanosec = int((seconds - int(seconds)) * 1e9)
        self._publisher.publish(message)


def test_simulated_time_may_jump_back_stop_and_start_again(
    client: Client, tiny_model: Path, image: np.ndarray
) -> None:
    with running_node(
        model_path=str(tiny_model), engine='torch', use_sim_time=True, max_image_age=5.0
    ) as node:
        client.wait_until_matched()
        masks = client.listen('mask')
        clock = SimulatedClock(client)

        def now_is(seconds: float) -> Callable[[], bool]:
            return lambda: abs(node.get_clock().now().nanoseconds / 1e9 - seconds) < 1e-3

        client.answer(masks, image, stamp_s=7.0)  # before the first /clock: time is 0
        for seconds in (100.0, 101.0, 1000.0, 50.0, 0.5):  # 50: the bag begins anew
            clock.set(seconds)
            wait_for(now_is(seconds), '/clock')
            client.answer(masks, image, stamp_s=seconds - 0.1)
            masks.clear()
        for stamp in (0.6, 0.7, 90.0):  # it stops; stamps go on
            client.answer(masks, image, stamp_s=stamp)
        clock.set(200.0)
        wait_for(now_is(200.0), '/clock')
        client.send(image, stamp_s=150.0)
        wait_for(lambda: node._health.dropped == 1, 'the old image to be dropped')
        client.answer(masks, image, stamp_s=199.9)
        status = client.wait_for_status('running')
        numbers = {
            v.key: float(v.value)
            for v in status.values
            if v.key.endswith(('(Hz)', '(ms)')) or v.value.isdecimal()
        }
        assert len(numbers) > 8
        assert min(numbers.values()) >= 0, numbers


def test_diagnostics_come_while_simulated_time_stands_still(
    client: Client, tiny_model: Path
) -> None:
    with running_node(model_path=str(tiny_model), engine='torch', use_sim_time=True):
        client.wait_for_status('waiting for the first image')
        client.statuses.clear()
        wait_for(lambda: len(client.statuses) >= 3, 'three reports')
