"""A road_seg_node in a process of its own, for the commands that drive one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from road_seg_ros.stop import stop_held_back
from road_seg_ros.transport import use_profile

if TYPE_CHECKING:
    from rclpy.node import Node

START_TIMEOUT_S = 120.0  # loading CUDA for the first time can take a minute
STOP_TIMEOUT_S = 5.0

Process = subprocess.Popen[Any]


class NodeError(RuntimeError):
    """road_seg_node cannot be driven; says why."""


def prepare_environment(only_here: bool = True) -> None:
    """
    Set the transport profile, unless the user chose otherwise.

    only_here: whether to keep to this machine too.
    """
    use_profile()
    if only_here:
        os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')


def start_ros() -> None:
    """Initialise rclpy, which leaves signals to Python. NodeError if ROS does not start."""
    import rclpy  # here, for the benchmark to start where there is none
    from rclpy.signals import SignalHandlerOptions

    try:
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # rclpy's own types differ between distributions
        raise NodeError(f'ROS does not start: {error}') from error


def require_running(process: Process) -> None:
    """Raise NodeError if a road_seg_node that was started has ended."""
    if process.poll() is not None:
        raise NodeError('road_seg_node has ended; its last message is above')


@contextlib.contextmanager
def running_node(arguments: list[str], **options: Any) -> Iterator[Process]:
    """
    Run road_seg_node with more ROS arguments, as a process that ends with the block.

    options: of subprocess.Popen. Interrupts are Python's: not for a program in which rclpy handles
    signals, see stop_held_back.
    """
    command = [sys.executable, '-m', 'road_seg_ros.main', '--ros-args', *arguments]
    process = None
    try:
        with stop_held_back():
            process = subprocess.Popen(command, **options)
        yield process
    finally:
        if process is not None:
            process.send_signal(signal.SIGINT)
            wait_or_kill(process)


def wait_or_kill(process: Process) -> None:
    """Wait for the end of a process that was asked to end; kill it after STOP_TIMEOUT_S."""
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
    finally:  # also when a second Ctrl-C ends the wait
        process.kill()
        process.wait()


def wait_for_node(
    node: Node,
    ready: Callable[[], bool],
    status: Callable[[], str],
    process: Process | None = None,
) -> None:
    """
    Spin `node` until road_seg_node is `ready`.

    status: what road_seg_node says of itself, for the message of the NodeError that is raised when
    it ends at start, or is not ready in time. process: None if it was not started here.
    """
    import rclpy  # here, for the benchmark to start where there is none

    deadline = time.monotonic() + START_TIMEOUT_S
    while not ready():
        rclpy.spin_once(node, timeout_sec=0.1)
        if process is not None and process.poll() is not None:
            raise NodeError('road_seg_node ended at start; its message is above')
        if time.monotonic() > deadline:
            raise NodeError(
                f'road_seg_node was not ready in {START_TIMEOUT_S:.0f} s; it says: '
                f'{status() or "nothing"}'
            )
