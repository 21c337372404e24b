"""
Play a rosbag2 through rclpy, where `ros2 bag play` is not installed.

    road_seg_replay BAG --clock --wait-for /camera/image_raw
    road_seg_replay BAG --save OUT      # with the mask and overlay of the running node

Waits until those who subscribe have found it, so that they get the first message, and ends once
they have acknowledged the last.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from road_seg_ros.arguments import full_node_name, not_negative, positive
from road_seg_ros.graph_names import NODE
from road_seg_ros.stop import Stop
from road_seg_ros.transport import use_profile

if TYPE_CHECKING:  # in `main`: a signal ends what takes time to import
    from rclpy.node import Node

    from road_seg_ros.bags.player import Player
    from road_seg_ros.bags.reading import Bag, Topic
    from road_seg_ros.bags.result_bag import ResultBag

PROGRAM = 'road_seg_replay'
POLL_S = 0.05
CLOCK = '/clock'
CLOCK_HZ = 40.0  # as `ros2 bag play`
BYTES_AHEAD = 64 * 2**20
# By default a thread that reads may keep the one that publishes waiting for 5 ms.
SWITCH_INTERVAL_S = 0.0005


class _CutShort(Exception):
    """A signal came before the end."""


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and play. Returns the exit status, 0 after SIGINT or SIGTERM too."""
    stop = Stop()
    stop.on_signals()
    sys.setswitchinterval(SWITCH_INTERVAL_S)

    from road_seg_ros.bags.player import PlayError
    from road_seg_ros.bags.qos import QosError
    from road_seg_ros.bags.reading import BagError
    from road_seg_ros.bags.recorder import RecorderError

    own, ros_arguments = _split(sys.argv[1:] if arguments is None else arguments)
    parser = _parser()
    args = parser.parse_args(own)
    if args.save and args.loop:
        parser.error('--save ends with the bag, --loop never; leave out one of them')
    try:
        _run(args, ros_arguments, stop)
    except (BagError, QosError, PlayError, RecorderError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='What follows --ros-args goes to ROS.',
    )
    parser.add_argument('bag', help='rosbag2 folder, or one of its .mcap or .db3 files')
    parser.add_argument('-r', '--rate', type=positive, default=1.0, help='speed, default 1')
    parser.add_argument('-l', '--loop', action='store_true', help='play it again and again')
    parser.add_argument(
        '--start',
        '--start-offset',
        type=not_negative,
        default=0.0,
        metavar='S',
        help='s to leave out',
    )
    parser.add_argument(
        '--duration',
        '--playback-duration',
        type=positive,
        metavar='S',
        help='s of the bag to play',
    )
    parser.add_argument(
        '--clock',
        nargs='?',
        type=not_negative,
        const=CLOCK_HZ,
        default=0.0,
        metavar='HZ',
        help=f'publish /clock, {CLOCK_HZ:.0f} times a second unless told otherwise, and leave out '
        'that of the bag',
    )
    parser.add_argument('--topics', nargs='+', metavar='TOPIC', help='play these only')
    parser.add_argument(
        '-m', '--remap', nargs='+', default=[], metavar='FROM:=TO', help='play under other names'
    )
    parser.add_argument(
        '--qos-profile-overrides-path',
        metavar='FILE',
        help='YAML file of QoS by topic, instead of what was recorded',
    )
    parser.add_argument(
        '--wait-for',
        '--wait-for-subscriber',
        nargs='+',
        default=[],
        metavar='TOPIC',
        help='start once these, as published, have a subscriber; without, whoever is there counts',
    )
    parser.add_argument(
        '--wait-timeout',
        type=not_negative,
        default=60.0,
        metavar='S',
        help='give up after that long without such a subscriber, default 60',
    )
    parser.add_argument(
        '--save',
        type=Path,
        metavar='OUT',
        help='record the bag with mask and overlay of the running node to this folder, and '
        'overlay.mp4',
    )
    parser.add_argument(
        '--node',
        type=full_node_name,
        default=NODE,
        help=f'whose results --save records, default {NODE}',
    )
    return parser


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """
    Return this program's own arguments, and those from --ros-args on, up to -- or the end.

    rclpy's remove_ros_args would take the rules of --remap as well.
    """
    if '--ros-args' not in arguments:
        return arguments, []
    begin = arguments.index('--ros-args')
    end = arguments.index('--', begin) if '--' in arguments[begin:] else len(arguments)
    return arguments[:begin] + arguments[end + 1 :], arguments[begin:end]


def _run(args: argparse.Namespace, ros_arguments: list[str], stop: Stop) -> None:
    from road_seg_ros.bags.player import NS, Part, Player, mean_period_ns, read
    from road_seg_ros.bags.qos import read_overrides
    from road_seg_ros.bags.reading import Bag
    from road_seg_ros.read_ahead import ReadAhead

    path = args.qos_profile_overrides_path
    overrides = read_overrides(path) if path else {}
    with contextlib.ExitStack() as stack:
        bag = stack.enter_context(Bag(args.bag))
        topics = _choose(bag, args.topics, bool(args.clock))
        _require_known(bag, topics, [*overrides, *_remapped(args.remap)])
        remappings = [word for rule in args.remap for word in ('-r', rule)]
        node = stack.enter_context(_node([*ros_arguments, '--ros-args', *remappings]))
        player = Player(node, topics, args.rate, args.clock, overrides, stop)
        for topic, reason in player.skipped.items():
            _say(f'not played: {topic}: {reason}')
        topics = list(player.publishers)
        part = Part.of(bag, topics, args.start, args.duration)
        messages = ReadAhead(
            read(bag, topics, part, args.loop), BYTES_AHEAD, lambda message: len(message.data)
        )
        stack.callback(messages.close)
        results = stack.enter_context(_saved(args, bag, topics, node, stop))
        if args.wait_for:
            _say(f'waiting for a subscriber to {", ".join(args.wait_for)}')
        player.wait(args.wait_for, args.wait_timeout, part.start_ns)
        for line in player.unheard():
            _say(f'not heard: {line}')
        if not stop.is_set():
            _say(f'playing {args.bag}: {", ".join(map(str, topics))}')
        pause_ns = mean_period_ns(bag, topics) or NS // 10
        player.play(messages, part, pause_ns, results.played if results else None)
        if results is not None:
            results.wait_for_results(stop)
        unacknowledged = [] if stop.is_set() else player.flush()
        _say(_report(player))
        for name in unacknowledged:
            _say(f'not all of it was acknowledged by its subscribers: {name}')


@contextlib.contextmanager
def _node(arguments: list[str]) -> Iterator[Node]:
    """Give a node that signals leave alone: the last messages are still to be acknowledged."""
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from road_seg_ros.bags.player import PlayError

    use_profile()
    try:
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # rclpy's own types differ between distributions
        raise PlayError(f'ROS does not start: {error}') from error
    try:
        node = rclpy.create_node(PROGRAM)
        yield node
        node.destroy_node()
    finally:
        rclpy.try_shutdown()


@contextlib.contextmanager
def _saved(
    args: argparse.Namespace, bag: Bag, topics: list[Topic], node: Node, stop: Stop
) -> Iterator[ResultBag | None]:
    """Record what is played, and the results; nothing is left of it if the block is cut short."""
    if args.save is None:
        yield None
        return
    from road_seg_ros.bags.recorder import RecorderError
    from road_seg_ros.bags.result_bag import ResultBag
    from road_seg_ros.bags.whole_folder import OutputError, whole_folder

    if os.path.lexists(args.save):
        raise RecorderError(f'{args.save} exists already; choose another name for --save')
    try:
        args.save.parent.mkdir(parents=True, exist_ok=True)
        with whole_folder(args.save) as folder:
            results = ResultBag(node, folder, bag, topics, args.node)
            try:
                with _spinning(node):
                    _wait_for_node(results, args, stop)
                    yield results
                if stop.is_set():
                    raise _CutShort
            except BaseException:
                results.abort()
                raise
            results.close()
    except _CutShort:
        _say(f'{args.save} was not written: it would not be complete')
        return
    except (OSError, OutputError) as error:
        raise RecorderError(f'--save cannot be written: {error}') from error
    counts = ', '.join(f'{count} of {output}' for output, count in results.results.items())
    _say(f'saved {args.save}: {counts}, for {results.images} images')


@contextlib.contextmanager
def _spinning(node: Node) -> Iterator[None]:
    """Run a node's callbacks in a thread."""
    from rclpy.executors import SingleThreadedExecutor

    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, name='spinner')
    thread.start()
    try:
        yield
    finally:
        executor.shutdown()
        thread.join()


def _wait_for_node(results: ResultBag, args: argparse.Namespace, stop: Stop) -> None:
    from road_seg_ros.bags.player import PlayError

    _say(f'waiting for {args.node}')
    deadline = time.monotonic() + args.wait_timeout
    while not (results.client.ready() or stop.wait(POLL_S)):
        if time.monotonic() > deadline:
            raise PlayError(
                f'--save found no active {args.node} in {args.wait_timeout:g} s; it says: '
                f'{results.client.status or "nothing"}. Start road_seg_node, or name it with '
                '--node'
            )


def _choose(bag: Bag, names: list[str] | None, has_clock: bool) -> list[Topic]:
    """
    Return the topics with these names, or all that have messages.

    has_clock: this program publishes /clock. Then that of the bag counts only if it is named:
    time would jump between the two.
    """
    if names is None:
        names = [topic.name for topic in bag.topics if topic.count]
        if has_clock and CLOCK in names:
            _say(f'not played: {CLOCK} of the bag: --clock publishes another')
            names = [name for name in names if name != CLOCK]
    _require_known(bag, bag.topics, names)
    return [topic for topic in bag.topics if topic.name in names]


def _require_known(bag: Bag, topics: list[Topic], names: Iterable[str]) -> None:
    """Raise BagError if a name is none of these topics': it is a mistake rather than nothing."""
    from road_seg_ros.bags.reading import BagError

    for name in names:
        if name not in {topic.name for topic in topics}:
            there = ', '.join(map(str, topics)) or 'nothing'
            raise BagError(f'{name} is not played from {bag.path}; there is {there}')


def _remapped(rules: list[str]) -> list[str]:
    """Return the names that are to be changed. PlayError if a rule is none."""
    from road_seg_ros.bags.player import PlayError

    for rule in rules:
        if not re.fullmatch(r'/[^:=]+:=[^:=]+', rule):
            raise PlayError(f'--remap must be like /from:=/to, not {rule}')
    return [name for rule in rules if (name := rule.split(':=')[0]) != CLOCK]


def _report(player: Player) -> str:
    """Return a table of what was sent and how late."""
    rows = [('topic', 'messages', 'late, ms: median', 'p95', 'max')]
    for topic, lateness in player.lateness.items():
        times = (lateness.percentile_ms(50), lateness.percentile_ms(95), lateness.max_ms)
        name = player.publishers[topic].topic_name
        rows.append((name, f'{lateness.count}', *(f'{time_ms:.2f}' for time_ms in times)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return '\n'.join(
        '  '.join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == '__main__':
    sys.exit(main())
