"""replay.launch.py, and seg.launch.py with a bag, play all of it to nodes that hear it."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import fake_ros2_bag
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from graph import RELIABLE, Client, children, wait_for
from rclpy.qos import ReliabilityPolicy
from recordings import (
    BEGIN_NS,
    CAMERA,
    IMAGE,
    STORE,
    STRING,
    Record,
    compressed,
    image,
    qos,
    stamps,
    text,
    write_bag,
)  # fmt: skip
from sensor_msgs.msg import Image

from road_seg_ros import synthetic
from road_seg_ros.bags.qos import read_overrides
from road_seg_ros.image_msgs import stamp_ns
from road_seg_ros.resources import find_resource

launch = pytest.importorskip('launch', reason='ROS 2 launch is not installed')
pytest.importorskip('launch_ros', reason='ROS 2 launch_ros is not installed')

from launched import BUSY_S, actions_of, installed, launched  # noqa: E402

from road_seg_ros.launching import bag_player, nodes  # noqa: E402

IMAGES = 12
TIMES = [index * 100_000_000 for index in range(IMAGES)]  # ns
END_NS = BEGIN_NS + TIMES[-1] + 1_000_000_000  # time goes on while the last are acknowledged


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return installed(tmp_path / 'install')


@pytest.fixture(scope='module')
def pixels() -> np.ndarray:
    return synthetic.render(0, 94, 310).image


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory, pixels: np.ndarray) -> Path:
    """Return a bag of a camera that offered best effort, and of something else."""
    path = tmp_path_factory.mktemp('recorded') / 'bag'
    records = [image(pixels, time_ns) for time_ns in TIMES] + [text('/chat', 0, 'hello')]
    return write_bag(path, records, {CAMERA: [qos('best_effort')]})


def _model(path: Path) -> tuple[str, ...]:
    return f'model_path:={path}', 'engine:=torch', 'device:=cpu'


def _record(client: Client, message_type: type, topic: str) -> list:
    messages: list = []
    client.create_subscription(message_type, topic, messages.append, RELIABLE)
    return messages


def _times(reports: list[DiagnosticArray], node: str) -> list[int]:
    """Return the times in ns since 1970 at which a node reported; 0 before it had any."""
    return [stamp_ns(r) for r in reports if r.status[0].name.startswith(f'{node}:')]


def test_every_image_of_a_bag_is_answered_in_its_own_time_and_then_all_ends(
    client: Client, environment: dict[str, str], tiny_model: Path, bag: Path
) -> None:
    masks = _record(client, Image, '/road_seg/mask')
    reports = _record(client, DiagnosticArray, '/diagnostics')
    with launched('replay.launch.py', environment, f'bag:={bag}', *_model(tiny_model)) as process:
        output = process.communicate(timeout=BUSY_S)[0]
    assert process.returncode == 0
    assert stamps(masks) == TIMES
    assert 'is played without' not in output
    times = _times(reports, '/road_seg')
    assert any(times)
    assert all(not time or BEGIN_NS <= time <= END_NS for time in times)


def test_each_of_two_cameras_hears_all_of_what_ros2_bag_plays_raw_or_compressed(
    client: Client,
    environment: dict[str, str],
    tiny_model: Path,
    pixels: np.ndarray,
    tmp_path: Path,
) -> None:
    records = [image(pixels, time, '/front/image_raw') for time in TIMES]
    records += [compressed(pixels, time, '/rear/image_raw/compressed') for time in TIMES]
    bag = write_bag(tmp_path / 'bag', sorted(records, key=lambda record: record[2]))
    environment = fake_ros2_bag.install(tmp_path / 'rosbag2', environment)
    names = ('front', 'rear')
    masks = [_record(client, Image, f'/car/{name}/road_seg/mask') for name in names]
    reports = _record(client, DiagnosticArray, '/diagnostics')
    with launched(
        'seg.launch.py',
        environment,
        *(f'bag:={bag}', 'image_topic:=/front/image_raw, /rear/image_raw'),
        *('namespace:=car', *_model(tiny_model)),
    ) as process:
        assert process.wait(BUSY_S) == 0
    assert [stamps(of_camera) for of_camera in masks] == [TIMES, TIMES]
    for name in names:
        times = _times(reports, f'/car/{name}/road_seg')
        assert any(BEGIN_NS <= time <= END_NS for time in times)


def _recorded(topic: str, kind: str, *values: object) -> Record:
    return topic, kind, 0, STORE.types[kind](*values)


@pytest.mark.parametrize('is_rosbag2', [True, False])
def test_a_bag_recorded_beside_the_node_is_played_without_what_is_published_anew(
    client: Client,
    environment: dict[str, str],
    tiny_model: Path,
    pixels: np.ndarray,
    tmp_path: Path,
    is_rosbag2: bool,
) -> None:
    time = STORE.types['builtin_interfaces/msg/Time'](12, 0)
    header = STORE.types['std_msgs/msg/Header'](time, '')
    records = [
        _recorded('/clock', 'rosgraph_msgs/msg/Clock', time),
        _recorded('/diagnostics', 'diagnostic_msgs/msg/DiagnosticArray', header, []),
    ]
    records += [text('/chat', 0, 'hello'), image(pixels, 0, '/car/road_seg/confidence')]
    for time_ns in TIMES:
        records += [image(pixels, time_ns), image(pixels, time_ns, '/road/mask')]
    bag = write_bag(tmp_path / 'bag', records)
    if is_rosbag2:
        environment = fake_ros2_bag.install(tmp_path / 'rosbag2', environment)
    masks = _record(client, Image, '/road/mask')
    arguments = ('namespace:=car', 'mask_topic:=/road/mask', *_model(tiny_model))
    with launched('replay.launch.py', environment, f'bag:={bag}', *arguments) as process:
        output = process.communicate(timeout=BUSY_S)[0]
    assert process.returncode == 0
    assert stamps(masks) == TIMES
    assert f'playing {bag}: {CAMERA} ({IMAGE}), /chat ({STRING})\n' in output
    assert (
        'the bag is played without /car/road_seg/confidence, /clock, /diagnostics, /road/mask: '
        'the launch publishes them itself'
    ) in output


def test_a_bag_in_a_loop_is_played_until_the_launch_is_told_to_end(
    client: Client, environment: dict[str, str], tiny_model: Path, bag: Path
) -> None:
    masks = _record(client, Image, '/road_seg/mask')
    arguments = ('loop:=true', 'rate:=3', 'start:=0.55', *_model(tiny_model))
    with launched('replay.launch.py', environment, f'bag:={bag}', *arguments) as process:
        wait_for(lambda: len(masks) >= 2 * IMAGES, 'the bag to begin again', BUSY_S)
        assert process.poll() is None
    assert process.returncode == 0
    assert set(stamps(masks)) == set(TIMES[6:])


def test_a_bag_that_is_not_there_ends_the_launch_with_one_line(
    environment: dict[str, str],
) -> None:
    with launched('replay.launch.py', environment, 'bag:=/no/bag') as process:
        output = process.communicate(timeout=BUSY_S)[0]
    assert process.returncode == 1
    assert "bag must be the folder of a rosbag2, got '/no/bag': it does not exist" in output
    assert 'process started' not in output


def test_the_bag_must_be_given(environment: dict[str, str]) -> None:
    with launched('replay.launch.py', environment) as process:
        output = process.communicate(timeout=BUSY_S)[0]
    assert "missing required argument 'bag'" in output


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ({'image_topic': '/cam'}, f'got /cam: the bag has {CAMERA}'),
        ({'image_topic': '/chat'}, f'got /chat: the bag has {CAMERA}'),
        ({'image_topic': f'{CAMERA}, /cam'}, 'got /cam'),
        ({'rate': '0'}, "rate must be above 0, got '0'"),
        ({'rate': 'fast'}, "rate must be above 0, got 'fast'"),
        ({'rate': 'inf'}, "rate must be above 0, got 'inf'"),
        ({'start': '-1'}, "start must be 0 or more, got '-1'"),
    ],
)
def test_a_bad_argument_is_named(bag: Path, arguments: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        actions_of('replay.launch.py', bag=str(bag), **arguments)


def test_what_a_launch_file_around_this_one_calls_rate_is_its_own(
    bag: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {}
    monkeypatch.setattr(nodes, 'play_bag', lambda *arguments: given.update(arguments[4]) or [])
    actions_of('seg.launch.py', image_topic=CAMERA, bag=str(bag), rate='30')
    assert given['bag'] == str(bag)
    assert 'rate' not in given


def test_a_player_that_fails_ends_the_launch_with_a_status(
    environment: dict[str, str], tiny_model: Path, bag: Path
) -> None:
    arguments = (f'bag:={bag}', 'start:=9', *_model(tiny_model))
    with launched('replay.launch.py', environment, *arguments) as process:
        output = process.communicate(timeout=BUSY_S)[0]
    assert process.returncode == 1
    assert 'has no message there: it is 1.1 s long' in output
    assert 'the bag player ended with status 1' in output


@pytest.mark.parametrize('is_rosbag2', [True, False])
@pytest.mark.parametrize('nodes_start', [True, False])
def test_an_interrupt_while_the_bag_waits_ends_all_of_it(
    client: Client,
    environment: dict[str, str],
    tiny_model: Path,
    bag: Path,
    tmp_path: Path,
    is_rosbag2: bool,
    nodes_start: bool,
) -> None:
    parameters = tmp_path / 'parameters.yaml'
    parameters.write_text(f'/**: {{ros__parameters: {{autostart: {str(nodes_start).lower()}}}}}')
    if is_rosbag2:
        environment = fake_ros2_bag.install(tmp_path / 'rosbag2', environment)
    arguments = (f'bag:={bag}', f'params_file:={parameters}', 'rate:=0.1', *_model(tiny_model))
    with launched('replay.launch.py', environment, *arguments) as process:
        wait_for(lambda: 'road_seg' in client.get_node_names(), 'the node to start', BUSY_S)
        if nodes_start:
            wait_for(lambda: client.count_publishers(CAMERA) > 1, 'the player to start', BUSY_S)
        started = children(process.pid)
    left = [pid for pid in started if Path(f'/proc/{pid}').exists()]
    for pid in left:  # would disturb the tests that follow
        os.kill(pid, signal.SIGKILL)
    assert process.returncode == 0
    assert len(started) == 1 + nodes_start
    assert not left


def test_the_qos_file_of_the_package_is_for_its_default_topic() -> None:
    path, temporary = bag_player.qos_file([CAMERA])
    assert path == str(find_resource('config/replay_qos.yaml'))
    assert not temporary


def test_other_topics_are_played_with_the_same_qos(tmp_path: Path) -> None:
    path, temporary = bag_player.qos_file(['/front/image_raw', '/rear/image_raw'])
    try:
        assert temporary
        of_package = read_overrides(find_resource('config/replay_qos.yaml'))[CAMERA]
        profiles = read_overrides(path)
        assert profiles == dict.fromkeys(('/front/image_raw', '/rear/image_raw'), of_package)
        assert of_package.reliability == ReliabilityPolicy.RELIABLE
    finally:
        Path(path).unlink()
