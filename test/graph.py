"""A ROS graph for a test: the node under test, and a camera and viewer beside it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from road_seg_ros.engines import Wanted
from road_seg_ros.image_msgs import to_image
from road_seg_ros.node import RoadSegNode
from road_seg_ros.segmenter import RoadSegmenter
from road_seg_ros.transport import CHOSEN_BY_USER

Process = subprocess.Popen[str]
TIMEOUT_S = 30.0  # for anything that takes a moment on a busy machine
RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)


def wait_for(condition: Callable[[], Any], what: str, timeout: float = TIMEOUT_S) -> Any:
    """Return the condition's value once it is true; fail with `what` after the timeout."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f'waited {timeout:.0f} s for {what}')


class Client(Node):
    """Publishes images and keeps what comes back. Spins in a thread of its own."""

    def __init__(self, qos: QoSProfile = RELIABLE, node: str = '/road_seg') -> None:
        super().__init__('test_client')
        self.target = node
        self.received: dict[str, list[Any]] = {}
        self.statuses: list[Any] = []
        self.qos = qos
        self.camera = self.create_publisher(Image, '/camera/image_raw', qos)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, RELIABLE)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self)
        self._thread = threading.Thread(target=self._spin)
        self._thread.start()

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            pass

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.statuses += [s for s in message.status if s.name.startswith(f'{self.target}:')]

    def listen(self, topic: str, message_type: type = Image, qos: QoSProfile = RELIABLE) -> list:
        """Subscribe to `/road_seg/TOPIC` and return the list that fills with its messages."""
        messages = self.received[topic] = []
        name = f'{self.target}/{topic}'
        self.create_subscription(message_type, name, messages.append, qos)
        wait_for(lambda: self.count_publishers(name), f'a publisher of {name}')
        return messages

    def wait_until_matched(self) -> None:
        """Wait until the node under test listens to the camera."""
        wait_for(self.camera.get_subscription_count, 'a subscription to the camera')

    def send(self, pixels: np.ndarray, stamp_s: float | None = None, frame_id: str = 'cam') -> Any:
        """Publish a bgr8 image, stamped now unless told otherwise. Returns its stamp."""
        header = Header(frame_id=frame_id, stamp=self.get_clock().now().to_msg())
        if stamp_s is not None:
            header.stamp.sec = int(stamp_s)
            header.stamp.nanosec = int((stamp_s - int(stamp_s)) * 1e9)
        self.camera.publish(to_image(pixels, 'bgr8', header))
        return header.stamp

    def ask(self, message_type: type, service: str, request: Any) -> Any:
        """Call a service of the node under test and return its response."""
        client = self.create_client(message_type, f'{self.target}/{service}')
        assert client.wait_for_service(TIMEOUT_S), f'no service {service}'
        future = client.call_async(request)
        response = wait_for(lambda: future.done() and future.result(), f'{service} to answer')
        self.destroy_client(client)
        return response

    def answer(self, messages: list, pixels: np.ndarray, **arguments: Any) -> Any:
        """Send one image, as `send`, and return the message of a list that answers it."""
        stamp = self.send(pixels, **arguments)
        return wait_for(
            lambda: next((m for m in messages if m.header.stamp == stamp), None), 'an answer'
        )

    def drop(self, subscriptions: Iterable[Subscription]) -> None:
        """Destroy subscriptions in the thread that spins, which their events may end otherwise."""
        task = self._executor.create_task(
            lambda: [self.destroy_subscription(subscription) for subscription in subscriptions]
        )
        wait_for(task.done, 'subscriptions to be destroyed')

    def change_state(self, transition: int) -> bool:
        """Ask the node under test for a transition; say whether it succeeded."""
        request = ChangeState.Request(transition=Transition(id=transition))
        return self.ask(ChangeState, 'change_state', request).success

    def state(self) -> str:
        """Return the lifecycle state of the node under test."""
        return self.ask(GetState, 'get_state', GetState.Request()).current_state.label

    def wait_for_status(self, words: str) -> Any:
        """Wait for a new diagnostic status whose message has these words, and return it."""
        self.statuses.clear()
        return wait_for(
            lambda: next((s for s in self.statuses if words in s.message), None),
            f'diagnostics with {words!r}',
        )

    def close(self) -> None:
        """Stop spinning and leave the graph."""
        self._executor.shutdown()
        self._thread.join()
        self.destroy_node()


class ReplacedEngine:
    """
    An engine with another answer.

    `call` gets the engine that it replaces and what `submit` of that would get.
    """

    def __init__(self, segmenter: RoadSegmenter, call: Callable[..., Any]):
        self._engine, self._call = segmenter.engine, call
        self.name, self.device = self._engine.name, self._engine.device
        self.precision = self._engine.precision
        segmenter.engine = self

    def submit(self, image: np.ndarray, wanted: Wanted) -> Any:
        return self._call(self._engine, image, wanted)

    def close(self) -> None:
        self._engine.close()


@contextmanager
def running_node(start: bool = True, **parameters: Any) -> Iterator[RoadSegNode]:
    """Run a RoadSegNode in this process, spun by a thread, configured and active if `start`."""
    parameters.setdefault('autostart', start)
    overrides = [Parameter(name, value=value) for name, value in parameters.items()]
    node = RoadSegNode(parameter_overrides=overrides)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin)
    try:
        if start:
            assert node.start()
        thread.start()
        yield node
    finally:
        executor.shutdown()
        if thread.is_alive():
            thread.join()
        node.destroy_node()


@contextmanager
def ros() -> Iterator[None]:
    """Initialise rclpy for a block."""
    rclpy.init(args=[])
    try:
        yield
    finally:
        rclpy.try_shutdown()


def children(pid: int) -> dict[int, str]:
    """Return the command lines of the processes that a process started, by their pids."""
    found = {}
    for child in Path(f'/proc/{pid}/task/{pid}/children').read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):  # ended meanwhile
            found[int(child)] = Path(f'/proc/{child}/cmdline').read_text()
    return found


def plain_environment() -> dict[str, str]:
    """Return the environment of a process that keeps to the default transports."""
    return bare_environment() | {'FASTDDS_BUILTIN_TRANSPORTS': 'DEFAULT'}


def bare_environment() -> dict[str, str]:
    """Return the environment without any choice of transports, as a user's shell is."""
    return {name: value for name, value in os.environ.items() if name not in CHOSEN_BY_USER}


def node_process(*arguments: str, **options: Any) -> AbstractContextManager[Process]:
    """Run road_seg_node as a process of its own; stdout and stderr come together."""
    return _process('-m', 'road_seg_ros.main', '--ros-args', *arguments, **options)


def replay_process(bag: Path, *arguments: Any, **options: Any) -> AbstractContextManager[Process]:
    """Run road_seg_replay as a process of its own; stdout and stderr come together."""
    return _process('-m', 'road_seg_ros.replay', str(bag), *map(str, arguments), **options)


def camera_process(*arguments: str, **options: Any) -> AbstractContextManager[Process]:
    """Run camera.py beside this file as a process of its own, with its arguments."""
    return _process(str(Path(__file__).with_name('camera.py')), *arguments, **options)


@contextmanager
def _process(*arguments: str, **options: Any) -> Iterator[Process]:
    environment = {**options.pop('env', os.environ), 'PYTHONUNBUFFERED': '1'}
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        **{'stdout': subprocess.PIPE, **options},
    )
    try:
        yield process
    finally:
        # Not killed unless it must be: its shared memory would stay behind.
        process.terminate()
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
