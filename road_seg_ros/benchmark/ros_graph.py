"""
The whole node over DDS: a camera, the node and a viewer, each a process of its own.

Latency is from the stamp of an image to the arrival of its mask at the viewer. Jitter is as NVIDIA
Isaac's ros2_benchmark has it: by how much the time between two masks differs from the one before.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from road_seg_ros.benchmark import machine
from road_seg_ros.benchmark.samples import Choice, Model
from road_seg_ros.benchmark.timing import Durations
from road_seg_ros.graph_names import CAMERA_INPUT, NODE_NAME
from road_seg_ros.node_process import START_TIMEOUT_S, running_node, wait_or_kill
from road_seg_ros.transport import CHOSEN_BY_USER, profile_environment

TRANSPORTS = {False: 'default', True: 'fastdds.xml'}  # by whether the profile is used
# Said aloud, or the node would use the profile.
DEFAULT_TRANSPORTS = {'FASTDDS_BUILTIN_TRANSPORTS': 'DEFAULT'}
RELIABILITIES = ('best_effort', 'reliable')
SETTLING_S = 1.0  # of a run, whose latencies do not count
NODE_WINDOW = 200  # images that the node's median is of: its health.LATENCY_WINDOW
WARM_UP = {'rate': 20.0, 'count': 20}
ANSWER_TIMEOUT_S = 20.0


class GraphError(RuntimeError):
    """A process that did not do its part; says which, and what it said."""


@dataclass(frozen=True)
class NodeRun:
    """
    The node at one rate.

    sent: images; sent_hz: as they really left; received: by the node; masks: that arrived.
    latency: stamp to arrival; inference_ms: the node's own median; jitter: of the masks.
    node_cores: CPU time the node used, per time.
    """

    rate_hz: float
    sent: int
    sent_hz: float
    received: int
    masks: int
    latency: Durations | None
    inference_ms: float
    jitter: Durations | None
    node_cores: float
    node_mb: float

    @property
    def rest_ms(self) -> float:
        """The median latency less the node's inference."""
        return self.latency.median - self.inference_ms if self.latency else float('nan')


@dataclass(frozen=True)
class NodeResult:
    """The node with one engine and transport; start_s: from its start to the first mask."""

    engine: str
    transport: str
    middleware: str
    start_s: float
    runs: list[NodeRun]


@dataclass(frozen=True)
class TransportRun:
    """Images from a camera straight to a viewer."""

    publisher: str
    subscriber: str
    reliability: str
    sent: int
    received: int
    latency: Durations | None


def measure_node(
    model: Model,
    choice: Choice,
    source: str | None,
    profile: bool,
    rates: Sequence[float],
    seconds: float,
) -> NodeResult:
    """
    Run the node between a camera and a viewer, `seconds` at each of the rates (Hz).

    source: of the images; profile: whether all three use config/fastdds.xml.
    GraphError says what did not work.
    """
    name = f'/road_seg_benchmark_{os.getpid()}'
    camera_topic, node = f'{name}/{CAMERA_INPUT}', f'{name}/{NODE_NAME}'
    environment = _environment(profile)
    arguments = ['-r', f'__ns:={name}', '-p', f'device:={model.device}']
    arguments += ['-p', f'engine:={choice.engine}', '-p', f'precision:={choice.precision}']
    arguments += ['-p', f'model_path:={model.path}'] if model.path else []
    with contextlib.ExitStack() as stack:
        viewer = stack.enter_context(
            _Process('ros_viewer', [f'{node}/mask', 'reliable', node], environment)
        )
        camera = stack.enter_context(
            _Process('ros_camera', [camera_topic, 'reliable', *_some(source)], environment)
        )
        log = stack.enter_context(tempfile.TemporaryFile('w+', encoding='utf-8'))
        started_ns = time.time_ns()
        process = stack.enter_context(
            running_node(arguments, env=environment, stdout=log, stderr=log)
        )

        def check_node() -> None:
            if process.poll() is not None:
                log.seek(0)
                last_line = log.read().strip().rpartition('\n')[2]
                raise GraphError(f'road_seg_node ended: {last_line}')

        viewer.check = camera.check = check_node
        middleware = viewer.answer(START_TIMEOUT_S)['middleware']
        camera.answer(START_TIMEOUT_S)
        start_s = _warm_up(camera, viewer, started_ns)
        runs = []
        for rate in rates:
            before = viewer.ask({})['diagnostics']
            cpu_s, began = machine.cpu_seconds(process.pid), time.monotonic()
            count = max(2, round(rate * seconds))
            order = {'rate': rate, 'count': count}
            stamps = camera.ask(order, 2 * seconds + ANSWER_TIMEOUT_S)['stamps_ns']
            node_cores = (machine.cpu_seconds(process.pid) - cpu_s) / (time.monotonic() - began)
            after = viewer.ask({})
            check_node()
            runs.append(
                _node_run(
                    rate, stamps, before, after, node_cores, machine.resident_mb(process.pid)
                )
            )
        engine = f'{after["diagnostics"]["engine"]} {after["diagnostics"]["precision"]}'
    return NodeResult(engine, TRANSPORTS[profile], middleware, start_s, runs)


def measure_transport(
    source: str | None,
    publisher: bool,
    subscriber: bool,
    reliability: str,
    count: int,
    rate: float,
) -> TransportRun:
    """
    Send `count` images straight from a camera to a viewer, at a rate in Hz.

    publisher, subscriber: whether it uses config/fastdds.xml; reliability: of RELIABILITIES.
    """
    topic = f'/road_seg_benchmark_{os.getpid()}/transport'
    with (
        _Process('ros_viewer', [topic, reliability], _environment(subscriber)) as viewer,
        _Process(
            'ros_camera', [topic, reliability, *_some(source)], _environment(publisher)
        ) as camera,
    ):
        camera.answer(START_TIMEOUT_S)  # first: without a source the viewer would wait for it
        viewer.answer(START_TIMEOUT_S)
        viewer.ask({})  # a second, for either side to match the other
        order = {'rate': rate, 'count': count}
        stamps = camera.ask(order, 2 * count / rate + ANSWER_TIMEOUT_S)['stamps_ns']
        arrivals = dict(viewer.ask({})['arrivals_ns'])
    return TransportRun(
        TRANSPORTS[publisher],
        TRANSPORTS[subscriber],
        reliability,
        len(stamps),
        len(arrivals),
        _durations([(arrivals[s] - s) / 1e6 for s in stamps if s in arrivals]),
    )


def _node_run(
    rate: float,
    stamps_ns: list[int],
    before: Mapping[str, str],
    after: Mapping[str, Any],
    node_cores: float,
    node_mb: float,
) -> NodeRun:
    arrivals = dict(after['arrivals_ns'])
    settled_ns = stamps_ns[0] + SETTLING_S * 1e9
    counted = [stamp for stamp in stamps_ns if stamp in arrivals and stamp >= settled_ns]
    intervals_ms = np.diff([arrivals[stamp] for stamp in counted]) / 1e6
    return NodeRun(
        rate,
        len(stamps_ns),
        1e9 * (len(stamps_ns) - 1) / (stamps_ns[-1] - stamps_ns[0]),
        int(after['diagnostics']['received']) - int(before['received']),
        sum(stamp in arrivals for stamp in stamps_ns),
        _durations([(arrivals[stamp] - stamp) / 1e6 for stamp in counted]),
        float(after['diagnostics']['inference median (ms)'] or 'nan'),
        _durations(np.abs(np.diff(intervals_ms))),
        node_cores,
        node_mb,
    )


def _durations(ms: Sequence[float]) -> Durations | None:
    return Durations.of(ms) if len(ms) else None


def _warm_up(camera: _Process, viewer: _Process, started_ns: int) -> float:
    """Send images until masks come back; return the seconds from the start to the first."""
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end:
        camera.ask(WARM_UP)
        if arrivals := viewer.ask({})['arrivals_ns']:
            return (arrivals[0][1] - started_ns) / 1e9
    raise GraphError(f'no mask came back within {START_TIMEOUT_S:.0f} s')


def _some(source: str | None) -> list[str]:
    return [source] if source else []


def _environment(profile: bool) -> dict[str, str]:
    own = (*CHOSEN_BY_USER, 'ROS_LOCALHOST_ONLY')
    plain = {name: value for name, value in os.environ.items() if name not in own}
    plain.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    return plain | (profile_environment(plain) if profile else DEFAULT_TRANSPORTS)


class _Process:
    """
    ros_camera or ros_viewer: a line of JSON in, a line of JSON out.

    check: called while an answer is awaited; may raise.
    """

    def __init__(self, name: str, arguments: list[str], environment: dict[str, str]) -> None:
        self.check: Callable[[], None] = lambda: None
        self._name = name
        self._errors = tempfile.TemporaryFile('w+', encoding='utf-8')
        self._process = subprocess.Popen(
            [sys.executable, '-m', f'{__package__}.{name}', *arguments],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self._answers: queue.Queue[str] = queue.Queue()
        # A daemon: an interrupt may come before `__exit__` is sure to be called.
        self._reader = threading.Thread(target=self._read, name=f'read {name}', daemon=True)
        self._reader.start()

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(BrokenPipeError):  # it may have ended by itself
            self._process.stdin.close()
        wait_or_kill(self._process)
        self._reader.join()
        self._process.stdout.close()
        self._errors.close()

    def ask(self, question: Any, timeout: float = ANSWER_TIMEOUT_S) -> dict[str, Any]:
        """Send a line and wait for the answer. GraphError if it does not come."""
        try:
            self._process.stdin.write(json.dumps(question) + '\n')
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended, which `answer` explains
        return self.answer(timeout)

    def answer(self, timeout: float) -> dict[str, Any]:
        """Wait for a line. GraphError if it does not come."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            self.check()
            with contextlib.suppress(queue.Empty):
                return json.loads(self._answers.get(timeout=0.2))
            if self._process.poll() is not None and self._answers.empty():
                self._errors.seek(0)
                last_line = self._errors.read().strip().rpartition('\n')[2]
                raise GraphError(f'{self._name} ended: {last_line}')
        raise GraphError(f'{self._name} did not answer within {timeout:.0f} s')

    def _read(self) -> None:
        for line in self._process.stdout:
            if line.startswith('{'):  # the middleware may have something to say, too
                self._answers.put(line)
