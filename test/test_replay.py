"""A bag is played at its own times to everybody who listens, and what is wrong is told."""

from __future__ import annotations

import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from graph import BEST_EFFORT, RELIABLE, Process, replay_process, ros, wait_for
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from recordings import (
    BEGIN_NS,
    CAMERA,
    STORE,
    Record,
    compressed,
    image,
    qos,
    stamps,
    strange,
    text,
    write_bag,
)  # fmt: skip
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from road_seg_ros.bags.player import (
    Lateness,
    Part,
    Player,
    PlayError,
    Timeline,
    mean_period_ns,
    read,
)
from road_seg_ros.bags.qos import read_overrides
from road_seg_ros.bags.reading import Bag
from road_seg_ros.image_msgs import compressed_to_bgr
from road_seg_ros.stop import Stop

PERIOD_NS = 100_000_000  # 10 Hz
RECORDED_S = 12  # what a recorded /clock says
CLOCK = 'rosgraph_msgs/msg/Clock'
KITTI_SIZE = (375, 1242, 3)


def _pictures(count: int, shape: tuple[int, ...] = (12, 20, 3)) -> list[np.ndarray]:
    return [np.full(shape, index, np.uint8) for index in range(count)]


def _bag(path: Path, count: int = 10, reliability: str = 'reliable') -> Path:
    """Write a bag of numbered small images at 10 Hz."""
    records = [image(p, i * PERIOD_NS) for i, p in enumerate(_pictures(count))]
    return write_bag(path, records, {CAMERA: [qos(reliability)]})


class Listener(Node):
    """Keeps what it hears, and when. Spins in a thread of its own."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__('listener', **arguments)
        self.heard: dict[str, list[Any]] = {}
        self.times: dict[str, list[float]] = {}
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self)
        self._thread = threading.Thread(target=self._executor.spin)
        self._thread.start()

    def listen(self, message_type: type, topic: str, profile: QoSProfile = RELIABLE) -> list[Any]:
        """Subscribe and return the list that fills."""
        heard = self.heard[topic] = []
        times = self.times[topic] = []

        def receive(message: Any) -> None:
            times.append(time.monotonic())
            heard.append(message)

        many = QoSProfile(depth=1000, reliability=profile.reliability)
        self.create_subscription(message_type, topic, receive, many)
        return heard

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join()
        self.destroy_node()


@contextmanager
def _listener(**arguments: Any) -> Iterator[Listener]:
    with ros():
        listener = Listener(**arguments)
        try:
            yield listener
        finally:
            listener.close()


def _end(process: Process, timeout: float = 60.0) -> str:
    """Return what the player printed, once it has ended well."""
    output, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, output
    assert 'Traceback' not in output
    return output


def _wait_for_line(process: Process, words: str) -> None:
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f'the player ended without saying {words!r}')


def _sent(output: str, topic: str) -> tuple[int, float]:
    """Return how many messages of a topic the player says it sent, and how late: median, ms."""
    row = re.search(rf'^{re.escape(topic)} +(\d+) +(\S+) +\S+ +\S+$', output, re.MULTILINE)
    return int(row[1]), float(row[2])


def test_every_frame_reaches_a_subscriber_that_comes_late(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, KITTI_SIZE, np.uint8)
    records = [image(noise, index * PERIOD_NS) for index in range(60)]
    bag = write_bag(tmp_path / 'bag', records, {CAMERA: [qos()]})
    with replay_process(bag, '--rate', '5', '--wait-for', CAMERA) as player:
        _wait_for_line(player, 'waiting for a subscriber')
        with _listener() as listener:
            heard = listener.listen(Image, CAMERA)
            output = _end(player)
            wait_for(lambda: len(heard) == 60, 'all frames')
            seconds = listener.times[CAMERA][-1] - listener.times[CAMERA][0]
    assert stamps(heard) == [index * PERIOD_NS for index in range(60)]
    assert heard[-1].data.tobytes() == noise.tobytes()
    assert seconds == pytest.approx(59 * PERIOD_NS / 1e9 / 5, abs=0.2)
    count, late_ms = _sent(output, CAMERA)
    assert count == 60
    assert late_ms < 2.0


def test_every_best_effort_frame_reaches_whoever_is_there(tmp_path: Path) -> None:
    with _listener() as listener:
        heard = listener.listen(Image, CAMERA, BEST_EFFORT)
        bag = _bag(tmp_path / 'bag', reliability='best_effort')
        with replay_process(bag, '--rate', '10') as player:
            _end(player)
            wait_for(lambda: len(heard) == 10, 'all frames')
        assert [int(m.data[0]) for m in heard] == list(range(10))


def _play(
    listener: Listener, bag: Path, enough: Callable[[], Any], rate: float = 2.0, **options: Any
) -> Player:
    """Play a bag from this process until `enough`, or to its end."""
    stop = Stop()
    options = {'start': 0.0, 'duration': None, 'clock': 0.0, 'loop': False, **options}
    with Bag(bag) as opened:
        overrides = options.get('overrides', {})
        player = Player(listener, opened.topics, rate, options['clock'], overrides, stop)
        part = Part.of(opened, opened.topics, options['start'], options['duration'])
        messages = read(opened, opened.topics, part, options['loop'])
        playing = threading.Thread(
            target=player.play, args=(messages, part, mean_period_ns(opened, opened.topics))
        )
        playing.start()
        try:
            wait_for(enough, 'messages')
        finally:
            if options['loop']:
                stop.set()
            playing.join()
    return player


def test_a_loop_goes_on_at_its_rate_with_a_clock_that_jumps_back(tmp_path: Path) -> None:
    sim_time = [Parameter('use_sim_time', value=True)]
    with _listener(parameter_overrides=sim_time) as listener:
        heard = listener.listen(Image, CAMERA)
        clock = listener.listen(Clock, '/clock')
        seen_ns = []
        listener.create_subscription(
            Image, CAMERA, lambda _: seen_ns.append(listener.get_clock().now().nanoseconds), 10
        )
        bag = _bag(tmp_path / 'bag', 5)
        _play(listener, bag, lambda: len(heard) >= 12, loop=True, clock=200.0)
        assert stamps(heard)[:12] == [i % 5 * PERIOD_NS for i in range(12)]
        arrived = np.diff(listener.times[CAMERA][:12])
        assert np.median(np.abs(arrived - PERIOD_NS / 1e9 / 2)) < 0.01  # from loop to loop too
        ticks = [m.clock.sec * 10**9 + m.clock.nanosec - BEGIN_NS for m in clock]
        assert min(ticks) >= 0
        steps = np.diff(ticks)
        assert (steps < 0).sum() == 2
        assert np.median(steps[steps > 0]) == pytest.approx(2 * 1e9 / 200, rel=0.3)
        late_ns = np.array(seen_ns[:12]) - BEGIN_NS - stamps(heard)[:12]
        assert np.abs(np.median(late_ns)) < 50e6


def test_a_part_of_a_bag_is_played_with_a_clock_that_ends_with_it(tmp_path: Path) -> None:
    with _listener() as listener:
        heard = listener.listen(Image, CAMERA)
        clock = listener.listen(Clock, '/clock')
        bag = _bag(tmp_path / 'bag', 20)
        _play(listener, bag, lambda: len(heard) == 4, start=0.5, duration=0.4, clock=40.0)
        assert stamps(heard) == [i * PERIOD_NS for i in (5, 6, 7, 8)]

        def ended_ns() -> int:
            return clock[-1].clock.sec * 10**9 + clock[-1].clock.nanosec - BEGIN_NS

        wait_for(lambda: ended_ns() >= 9 * PERIOD_NS - 1, 'the last tick')
        assert ended_ns() == pytest.approx(9 * PERIOD_NS, abs=PERIOD_NS / 5)


def test_the_rate_holds_and_no_error_adds_up(tmp_path: Path) -> None:
    with _listener() as listener:
        heard = listener.listen(Image, CAMERA)
        began = time.monotonic()
        player = _play(listener, _bag(tmp_path / 'bag', 40), lambda: len(heard) == 40, rate=4.0)
        assert time.monotonic() - began == pytest.approx(39 * PERIOD_NS / 1e9 / 4, abs=0.2)
        [lateness] = player.lateness.values()
        assert lateness.count == 40
        assert lateness.percentile_ms(50) < 2.0


def test_topics_are_chosen_and_renamed_and_strange_ones_left_out(tmp_path: Path) -> None:
    picture = _pictures(8)[7]
    records = [
        compressed(picture, 0), text('/chat', 1, 'hello'), text('/secret', 2, 'no'),
        strange('/strange', 3),
    ]  # fmt: skip
    bag = write_bag(tmp_path / 'bag', records)
    with _listener() as listener:
        images = listener.listen(CompressedImage, '/front/compressed')
        chat = listener.listen(String, '/chat')
        secret = listener.listen(String, '/secret')
        arguments = ['--topics', f'{CAMERA}/compressed', '/chat', '/strange']
        arguments += ['--remap', f'{CAMERA}/compressed:=/front/compressed']
        with replay_process(bag, *arguments, '--wait-for', '/front/compressed') as player:
            output = _end(player)
            wait_for(lambda: images and chat, 'both messages')
        assert (compressed_to_bgr(images[0]) == picture).all()
        assert chat[0].data == 'hello'
        assert not secret
    assert output.count('nowhere_msgs/msg/Strange is not installed') == 1
    assert _sent(output, '/front/compressed')[0] == 1


def _clock(time_ns: int) -> Record:
    message = STORE.types[CLOCK](STORE.types['builtin_interfaces/msg/Time'](RECORDED_S, 0))
    return '/clock', CLOCK, time_ns, message


@pytest.mark.parametrize(
    ('arguments', 'seconds'),
    [
        (['--clock'], {BEGIN_NS // 10**9}),
        (['--clock', '--topics', CAMERA, '/clock'], {BEGIN_NS // 10**9, RECORDED_S}),
        ([], {RECORDED_S}),
    ],
)
def test_the_recorded_clock_is_not_played_beside_another_unless_it_is_named(
    tmp_path: Path, arguments: list[str], seconds: set[int]
) -> None:
    bag = write_bag(tmp_path / 'bag', [image(_pictures(1)[0], 0), _clock(0), _clock(PERIOD_NS)])
    with _listener() as listener:
        clock = listener.listen(Clock, '/clock')
        with replay_process(bag, *arguments) as player:
            output = _end(player)
        wait_for(lambda: {tick.clock.sec for tick in clock} == seconds, 'the clocks')
    told = 'not played: /clock of the bag: --clock publishes another'
    assert (told in output) == (arguments == ['--clock'])


def test_a_qos_file_replaces_what_was_recorded(tmp_path: Path) -> None:
    file = tmp_path / 'qos.yaml'
    file.write_text(f'{CAMERA}: {{reliability: best_effort, depth: 50}}')
    with _listener() as listener:
        listener.listen(Image, CAMERA)
        with Bag(_bag(tmp_path / 'bag', 2)) as bag:
            player = Player(listener, bag.topics, 1.0, 0.0, read_overrides(file), Stop())
        wait_for(player.unheard, 'the subscription')
        assert player.unheard() == [
            f'/listener subscribes to {CAMERA} with other QoS than the bag offers; '
            '--qos-profile-overrides-path changes that'
        ]
        lossy = listener.listen(Image, CAMERA, BEST_EFFORT)
        _play(listener, tmp_path / 'bag', lambda: len(lossy) == 2, overrides=read_overrides(file))


def test_a_subscriber_of_another_type_is_told(tmp_path: Path) -> None:
    with _listener() as listener:
        listener.listen(String, CAMERA)
        context = Context()  # one participant cannot have both types
        context.init(args=[])
        node = rclpy.create_node('player', context=context)
        try:
            with Bag(_bag(tmp_path / 'bag', 2)) as bag:
                player = Player(node, bag.topics, 1.0, 0.0, {}, Stop())
            expected = (
                f'/listener subscribes to {CAMERA} as std_msgs/msg/String, the bag has '
                'sensor_msgs/msg/Image'
            )
            wait_for(lambda: player.unheard() == [expected], expected)
        finally:
            node.destroy_node()
            context.try_shutdown()


def test_sigterm_ends_a_player_that_waits(tmp_path: Path) -> None:
    with replay_process(_bag(tmp_path / 'bag'), '--wait-for', CAMERA) as player:
        _wait_for_line(player, 'waiting for')
        player.send_signal(signal.SIGTERM)
        assert _sent(_end(player, 10.0), CAMERA)[0] == 0


def _damage(bag: Path) -> None:
    (bag / 'bag.mcap').write_bytes((bag / 'bag.mcap').read_bytes()[:-100])


def _end_strangely(bag: Path) -> None:
    shutil.rmtree(bag)
    write_bag(bag, [image(p, 0) for p in _pictures(1)] + [strange('/strange', 10 * PERIOD_NS)])


@pytest.mark.parametrize(
    ('arguments', 'spoil', 'words'),
    [
        ([], _damage, 'bag cannot be read as a rosbag2: File end magic is invalid'),
        (['--topics', '/camra'], None, '/camra is not played from .*; there is /camera/image_raw'),
        (['--remap', '/camra:=/x'], None, '/camra is not played from'),
        (['--remap', '/camera/image_raw=/x'], None, '--remap must be like /from:=/to, not'),
        (['--remap', '/camera/image_raw:=a b'], None, 'ROS does not start: '),
        (['--wait-for', '/camra'], None, '--wait-for /camra is not played; /camera/image_raw is'),
        (['--wait-for', CAMERA, '--wait-timeout', '0'], None, f'nobody subscribes to {CAMERA}'),
        (['--start', '9'], None, 'no message there: it is 0.9 s long, .* from 9 s on'),
        (['--start', '1e300'], None, 'no message there: .* from 1e\\+300 s on'),
        (['--qos-profile-overrides-path', 'gone'], None, 'gone cannot be read as a QoS file'),
        (['--rate', '0'], None, "--rate: must be a number above 0, got '0'"),
        (['--rate', 'nan'], None, "--rate: must be a number above 0, got 'nan'"),
        (['--start', '-1'], None, "--start.*: must be a number of at least 0, got '-1'"),
        (['--duration', '0'], None, "--duration.*: must be a number above 0, got '0'"),
        (['--clock', '-5'], None, "--clock: must be a number of at least 0, got '-5'"),
        (['--save', 'out', '--loop'], None, 'leave out one of them'),
        (['--save', 'out', '--node', 'road-seg'], None, "--node: .* not 'road-seg'"),
        (['--start', '0.95', '--loop'], _end_strangely, 'no message there'),
    ],
)
def test_what_cannot_be_played_ends_with_one_line(
    tmp_path: Path,
    arguments: list[str],
    spoil: Callable[[Path], None] | None,
    words: str,
) -> None:
    bag = _bag(tmp_path / 'bag')
    if spoil is not None:
        spoil(bag)
    with replay_process(bag, *arguments) as player:
        output, _ = player.communicate(timeout=30)
    assert player.returncode in (1, 2)
    assert 'Traceback' not in output
    assert re.search(words, output.splitlines()[-1]), output


def test_a_bag_of_strange_types_only_is_told(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'bag', [strange('/strange', 0)])
    with replay_process(bag) as player:
        output, _ = player.communicate(timeout=30)
    assert player.returncode == 1
    assert 'error: no topic of the bag can be played: /strange' in output


def test_lateness_takes_the_same_memory_for_any_number() -> None:
    lateness = Lateness()
    for late_ms in range(1, 1001):
        lateness.add(late_ms / 1e3)
    assert lateness.count == 1000
    assert lateness.percentile_ms(50) == pytest.approx(500, rel=0.01)
    assert lateness.percentile_ms(95) == pytest.approx(950, rel=0.01)
    assert lateness.max_ms == 1000
    for _ in range(Lateness.KEPT):
        lateness.add(0.002)
    assert lateness.percentile_ms(100) == pytest.approx(2)
    assert (lateness.count, lateness.max_ms) == (1000 + Lateness.KEPT, 1000)
    assert Lateness().percentile_ms(50) == 0.0


def test_a_timeline_scales_and_never_goes_before_its_start() -> None:
    timeline = Timeline(begin=100.0, start_ns=5_000_000_000, rate=2.0)
    assert timeline.due(9_000_000_000) == 102.0
    assert timeline.time_ns(102.0) == 9_000_000_000
    assert timeline.time_ns(99.0) == 5_000_000_000


def test_a_loop_repeats_the_part_and_says_how_often(tmp_path: Path) -> None:
    with Bag(_bag(tmp_path / 'bag', 3)) as bag:
        part = Part.of(bag, bag.topics, 0.1, None)
        messages = read(bag, bag.topics, part, loop=True)
        found = [next(messages) for _ in range(5)]
        assert [(m.turn, (m.time_ns - BEGIN_NS) // PERIOD_NS) for m in found] == [
            (0, 1), (0, 2), (1, 1), (1, 2), (2, 1),
        ]  # fmt: skip
        assert len(list(read(bag, bag.topics, part, loop=False))) == 2
        assert mean_period_ns(bag, bag.topics) == PERIOD_NS
        assert mean_period_ns(bag, []) == 0
        with pytest.raises(PlayError, match='has no message there: it is 0.2 s long'):
            Part.of(bag, bag.topics, 0.3, 1.0)
