"""
Play a bag in a launch: not before the nodes hear it, and to the end of their answers.

By `ros2 bag play` where rosbag2 is installed, else by road_seg_replay, which waits for the nodes'
subscriptions itself. `ros2 bag play` does not: it is started paused, and told from here to go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import math
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import yaml
from launch.actions import (
    ExecuteProcess,
    LogInfo,
    OpaqueCoroutine,
    OpaqueFunction,
    RegisterEventHandler,
)
from launch.event_handlers import OnShutdown
from launch.events import IncludeLaunchDescription
from launch.events import Shutdown as ShutdownEvent
from launch.events.process import ProcessExited
from launch.logging import get_logger
from launch_ros.ros_adapters import get_ros_node
from launch_ros.substitutions import ExecutableInPackage
from rclpy.node import Node

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from road_seg_ros.launching.replay_watch import ReplayWatch
from road_seg_ros.resources import PACKAGE, find_resource

CLOCK_HZ = '200'  # of /clock, and so the latency of the nodes is known to 5 ms
ACKNOWLEDGED_MS = '5000'  # how long `ros2 bag play` stays until its last messages have arrived
ANSWERED_S = 15.0  # how long the nodes have for their last images
RESUME_S = 2.0  # how long the player has to answer that it goes on
POLL_S = 0.1
PATIENCE_S = 10.0  # after which the log says who is waited for
RESUME = '/rosbag2_player/resume'
QOS_FILE = 'config/replay_qos.yaml'


def has_rosbag2() -> bool:
    """Whether `ros2 bag play` is installed, and what tells it to go on."""
    modules = ('ros2bag', 'rosbag2_interfaces')
    found = all(importlib.util.find_spec(name) for name in modules)
    return found and shutil.which('ros2') is not None


def play_bag(
    bag: str,
    topics: Mapping[str, str],
    recorded: Collection[str],
    published: Collection[str],
    args: Mapping[str, str],
    environment: Mapping[str, str],
) -> list[LaunchDescriptionEntity]:
    """
    Return what plays a bag once every node is active, and ends the launch after it.

    topics: the image topic of each road_seg node, by the node's full name. recorded: the topics
    of the bag. published: those that the nodes publish; a bag that was recorded beside such nodes
    has them too, and is played without. args: of these rate, loop and start, as far as there are
    any. environment: what the player needs more of it. ValueError names a bad argument.
    """
    rate = _number(args, 'rate', '1.0', 'above 0', lambda value: value > 0)
    start = _number(args, 'start', '0.0', '0 or more', lambda value: value >= 0)
    profiles, is_temporary = qos_file(topics.values())
    options = ['--clock', CLOCK_HZ, '--rate', rate, '--qos-profile-overrides-path', profiles]
    options += ['--loop'] if args.get('loop') == 'true' else []
    actions: list[LaunchDescriptionEntity] = []
    # Of Humble, `ros2 bag play --clock` plays the recorded /clock as well.
    if left_out := sorted({*published, '/clock'}.intersection(recorded)):
        options += ['--topics', *sorted(set(recorded).difference(left_out))]
        names = ', '.join(left_out)
        text = f'the bag is played without {names}: the launch publishes them itself'
        actions.append(LogInfo(msg=text))
    folder = str(Path(bag).expanduser())
    by_rosbag2 = has_rosbag2()
    if by_rosbag2:
        command = ['ros2', 'bag', 'play', folder, *options, '--start-offset', start]
        command += ['--start-paused', '--disable-keyboard-controls']
        command += ['--wait-for-all-acked', ACKNOWLEDGED_MS]
    else:
        command = [ExecutableInPackage('road_seg_replay', PACKAGE), folder, *options]
        command += ['--start', start]
        command += ['--wait-for-subscriber', *topics.values()]
    replay = Replay(topics, command, environment, start_paused=by_rosbag2)
    actions.append(_until_shutdown(replay.begin))
    if is_temporary:
        remove = OnShutdown(on_shutdown=lambda *_: Path(profiles).unlink(missing_ok=True))
        actions.append(RegisterEventHandler(remove))
    return actions


class Replay:
    """The order of things: nodes active, player started and heard, bag over, images answered."""

    def __init__(
        self,
        topics: Mapping[str, str],
        command: list[Any],
        environment: Mapping[str, str],
        start_paused: bool,
    ) -> None:
        self._topics = topics
        self._start_paused = start_paused
        self._watch: ReplayWatch | None = None
        self.player = ExecuteProcess(
            cmd=command,
            name='bag_player',
            additional_env={**environment, 'PYTHONUNBUFFERED': '1'},
            output='screen',
            on_exit=self.on_player_exit,
        )

    async def begin(self, context: LaunchContext) -> None:
        """Start the player once every node is active, and let it go on once all hear it."""
        node = get_ros_node(context)
        self._watch = ReplayWatch(node, self._topics)
        await _until_none(self._watch.inactive, 'to become active')
        start = IncludeLaunchDescription(LaunchDescription([self.player]))
        await context.emit_event(start)
        if self._start_paused:
            await self._until_none_twice(self._watch.unmatched, 'to hear the bag player')
            await _resume(node)

    def on_player_exit(
        self, event: ProcessExited, context: LaunchContext
    ) -> LaunchDescriptionEntity | None:
        """End the launch: with a player that failed at once, else once all is answered."""
        if context.is_shutdown:
            return None
        if event.returncode:  # raised, for the launch to end with a status too
            raise RuntimeError(f'the bag player ended with status {event.returncode}')
        return _until_shutdown(self._end)

    async def _end(self, context: LaunchContext) -> None:
        late = await self._until_none_twice(self._watch.unanswered, 'to answer', ANSWERED_S)
        if late:

            def fail(_: LaunchContext) -> None:
                raise RuntimeError(
                    f'{", ".join(late)} did not answer every image within {ANSWERED_S:.0f} s of '
                    'the end of the bag'
                )

            # As an event: what a coroutine raises may be lost.
            action = LaunchDescription([OpaqueFunction(function=fail)])
            await context.emit_event(IncludeLaunchDescription(action))
            return
        await context.emit_event(ShutdownEvent(reason='the bag has ended'))

    async def _until_none_twice(
        self, late: Callable[[], list[str]], what: str, timeout_s: float = math.inf
    ) -> list[str]:
        """Wait for two new reports in a row: the first may have been on its way for a while."""
        for _ in range(2):
            self._watch.forget()
            if missing := await _until_none(late, what, timeout_s):
                return missing
        return []


def _until_shutdown(work: Callable[[LaunchContext], Awaitable[None]]) -> OpaqueCoroutine:
    """Return the action that does some work, or as much of it as the launch has time for."""

    async def run(context: LaunchContext) -> None:
        # The launch cancels this when it ends, and would take a CancelledError for its own.
        with contextlib.suppress(asyncio.CancelledError):
            await work(context)

    return OpaqueCoroutine(coroutine=run)


async def _resume(node: Node) -> None:
    """Tell `ros2 bag play` to go on, until it has: a request may get lost at the very start."""
    from rosbag2_interfaces.srv import Resume

    client = node.create_client(Resume, RESUME)
    late = [RESUME]
    while late:
        await _until_none(lambda: [] if client.service_is_ready() else [RESUME], 'to be there')
        answer = client.call_async(Resume.Request())
        late = await _until_none(
            lambda done=answer.done: [] if done() else [RESUME], 'to answer', RESUME_S
        )


async def _until_none(
    late: Callable[[], list[str]], what: str, timeout_s: float = math.inf
) -> list[str]:
    """
    Wait until nobody is late, and return who is after the timeout.

    The log says now and then who is waited for, and for what.
    """
    begin = said = time.monotonic()
    while names := late():
        now = time.monotonic()
        if now - begin > timeout_s:
            return names
        if now - said > PATIENCE_S:
            said = now
            get_logger('replay').info(f'waiting for {", ".join(names)} {what}')
        await asyncio.sleep(POLL_S)
    return []


def _number(
    args: Mapping[str, str], name: str, default: str, rule: str, allows: Callable[[float], bool]
) -> str:
    """Return the text of an argument that must be a number."""
    text = args.get(name, default)
    try:
        allowed = math.isfinite(float(text)) and allows(float(text))
    except ValueError:
        allowed = False
    if not allowed:
        raise ValueError(f'{name} must be {rule}, got {text!r}')
    return text


def qos_file(topics: Collection[str]) -> tuple[str, bool]:
    """Return the path of a QoS file for these topics, and whether it was made for them."""
    path = find_resource(QOS_FILE)
    profiles = yaml.safe_load(path.read_text(encoding='utf-8'))
    if profiles.keys() == set(topics):
        return str(path), False
    [profile] = profiles.values()
    with tempfile.NamedTemporaryFile(
        'w', prefix='replay_qos_', suffix='.yaml', delete=False, encoding='utf-8'
    ) as file:
        yaml.safe_dump(dict.fromkeys(topics, profile), file)
    return file.name, True
