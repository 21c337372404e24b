"""seg.launch.py starts a working node, where ROS 2 launch is installed."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from builtin_interfaces.msg import Time
from graph import RELIABLE, Client, ros, wait_for
from lifecycle_msgs.msg import State, TransitionEvent
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from road_seg_ros import synthetic
from road_seg_ros.image_msgs import to_image
from road_seg_ros.transport import CHOSEN_BY_USER, PROFILE_VARIABLES

launch = pytest.importorskip('launch', reason='ROS 2 launch is not installed')
launch_ros = pytest.importorskip('launch_ros', reason='ROS 2 launch_ros is not installed')

from launch.actions import RegisterEventHandler, SetEnvironmentVariable  # noqa: E402
from launch_ros.events.lifecycle import StateTransition  # noqa: E402

LAUNCH_FILE = Path(__file__).parent.parent / 'launch' / 'seg.launch.py'
ARGUMENTS = {
    'image_topic': 'camera/image_raw',
    'mask_topic': 'road_seg/mask',
    'overlay_topic': 'road_seg/overlay',
    'model_path': '',
    'device': '',
    'engine': '',
    'precision': '',
    'threshold': '',
    'params_file': None,
    'namespace': '',
    'use_sim_time': 'false',
    'rviz': 'false',
    'bag': '',
    'respawn': 'false',
    'log_level': 'info',
}
BUSY_S = 120.0  # in which whatever is launched has started, or failed, on a busy machine
# What `ros2 launch FILE NAME:=VALUE ...` does.
RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
arguments = [tuple(a.split(':=', 1)) for a in sys.argv[2:]]
source = PythonLaunchDescriptionSource(sys.argv[1])
include = IncludeLaunchDescription(source, launch_arguments=arguments)
service = LaunchService()
service.include_launch_description(LaunchDescription([include]))
sys.exit(service.run())
"""


@pytest.fixture(scope='module')
def seg_launch() -> ModuleType:
    spec = importlib.util.spec_from_file_location('seg_launch', LAUNCH_FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which the package counts as installed in an ament prefix."""
    index = tmp_path / 'share/ament_index/resource_index/packages'
    programs = tmp_path / 'lib/road_seg_ros'
    index.mkdir(parents=True)
    programs.mkdir(parents=True)
    (index / 'road_seg_ros').touch()
    program = programs / 'road_seg_node'
    program.write_text(f'#!{sys.executable}\nfrom road_seg_ros.main import main\nmain()\n')
    program.chmod(0o755)
    paths = [str(tmp_path), os.environ.get('AMENT_PREFIX_PATH', ''), sys.prefix]
    return {**os.environ, 'AMENT_PREFIX_PATH': ':'.join(filter(None, paths))}


@contextmanager
def _launched(environment: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, '-c', RUN, str(LAUNCH_FILE), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=LAUNCH_FILE.parent.parent,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def test_every_argument_is_declared_and_described(seg_launch: ModuleType) -> None:
    description = seg_launch.generate_launch_description()
    context = launch.LaunchContext()
    declared = {a.name: a for a in description.get_launch_arguments()}
    assert set(declared) == set(ARGUMENTS)
    for name, default in ARGUMENTS.items():
        argument = declared[name]
        assert len(argument.description) > 10
        text = ''.join(part.perform(context) for part in argument.default_value)
        assert default is None or text == default
    for name in ('rviz', 'respawn', 'use_sim_time'):
        assert list(declared[name].choices) == ['true', 'false']


def test_a_mask_comes_out_of_what_was_launched(
    environment: dict[str, str], tiny_model: Path
) -> None:
    image = synthetic.render(0, 94, 310).image
    with ros():
        client = Client(node='/car/road_seg')
        try:
            camera = client.create_publisher(Image, '/front/image', RELIABLE)
            masks: list[Image] = []
            client.create_subscription(Image, '/road/mask', masks.append, RELIABLE)
            with _launched(
                environment,
                *('image_topic:=/front/image', 'mask_topic:=/road/mask', 'namespace:=car'),
                *(f'model_path:={tiny_model}', 'threshold:=0', 'engine:=torch', 'device:=cpu'),
            ) as process:
                wait_for(camera.get_subscription_count, 'the node to subscribe')
                message = to_image(image, 'bgr8', Image().header)
                wait_for(lambda: camera.publish(message) or masks, 'a mask')
                assert set(masks[-1].data) == {255}  # threshold 0
                values = {v.key: v.value for v in client.wait_for_status('running').values}
                assert (values['engine'], values['device']) == ('torch', 'cpu')
            assert process.returncode == 0
        finally:
            client.close()


def test_each_of_two_cameras_gets_masks_of_its_own_from_one_launch(
    environment: dict[str, str], tiny_model: Path
) -> None:
    pixels = synthetic.render(0, 94, 310).image
    with ros():
        clients = {name: Client(node=f'/car/{name}/road_seg') for name in ('front', 'rear')}
        try:
            cameras = {
                name: client.create_publisher(Image, f'/{name}/image_raw', RELIABLE)
                for name, client in clients.items()
            }
            with _launched(
                environment,
                *('image_topic:=[/front/image_raw, /rear/image_raw]', 'namespace:=car'),
                *(f'model_path:={tiny_model}', 'engine:=torch', 'device:=cpu'),
            ) as process:
                headers = {name: Header(frame_id=name, stamp=Time(sec=9)) for name in cameras}
                masks = {}
                for name, camera in cameras.items():
                    wait_for(camera.get_subscription_count, f'a subscription to {name}', BUSY_S)
                    masks[name] = clients[name].listen('mask')
                    image = to_image(pixels, 'bgr8', headers[name])
                    wait_for(
                        lambda c=camera, i=image, n=name: c.publish(i) or masks[n],
                        f'a mask of {name}',
                    )
                for name, client in clients.items():
                    client.wait_for_status('running')
                    assert all(mask.header == headers[name] for mask in masks[name])
            assert process.returncode == 0
        finally:
            for client in clients.values():
                client.close()


@pytest.mark.parametrize(
    ('argument', 'words'),
    [
        ('image_topic:=/a/image, /a/image', 'must name each camera once, got /a/image twice'),
        ('threshold:=2', 'threshold must be -1 or 0..1, got 2.0'),
        ('threshold:=high', "threshold must be -1 or 0..1, got 'high'"),
        ('engine:=onnx', "engine must be auto, torch, openvino, got 'onnx'"),
        ('rviz:=maybe', 'maybe'),
        ('model_path:=/no/model', "'/no/model' does not exist"),
    ],
)
def test_a_bad_argument_is_named_and_ends_the_launch(
    environment: dict[str, str], argument: str, words: str
) -> None:
    with _launched(environment, argument) as process:
        output = process.communicate(timeout=BUSY_S)[0]
    assert words in output


def _actions(seg_launch: ModuleType, **arguments: str) -> tuple[launch.LaunchContext, list]:
    """Return what the launch file would start, and the context of it."""
    context = launch.LaunchContext()
    for argument in seg_launch.generate_launch_description().get_launch_arguments():
        argument.visit(context)
    context.launch_configurations.update(arguments)
    return context, seg_launch._start(context)


def _only(kind: type, actions: list) -> list:
    return [action for action in actions if isinstance(action, kind)]


def _node_names(context: launch.LaunchContext, actions: list) -> list[str]:
    nodes = _only(launch_ros.actions.LifecycleNode, actions)
    for node in nodes:
        node._perform_substitutions(context)
    return [node.node_name for node in nodes]


def test_the_transport_profile_is_set_unless_the_user_chose(
    seg_launch: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in CHOSEN_BY_USER:
        monkeypatch.delenv(name, raising=False)
    for chosen, expected in ((False, set(PROFILE_VARIABLES)), (True, set())):
        if chosen:
            monkeypatch.setenv('FASTDDS_BUILTIN_TRANSPORTS', 'UDPv4')
        context, actions = _actions(seg_launch)
        names = {
            ''.join(part.perform(context) for part in action.name)
            for action in _only(SetEnvironmentVariable, actions)
        }
        assert names == expected


def _is_active(node: launch_ros.actions.LifecycleNode) -> StateTransition:
    message = TransitionEvent()
    message.goal_state.id, message.goal_state.label = State.PRIMARY_STATE_ACTIVE, 'active'
    return StateTransition(action=node, msg=message)


def test_a_bag_is_played_with_its_clock_once_every_node_is_active(seg_launch: ModuleType) -> None:
    topics = '/front/image_raw, /rear/image_raw'
    context, actions = _actions(seg_launch, image_topic=topics, bag='/data/kitti')
    [handler] = [action.event_handler for action in _only(RegisterEventHandler, actions)]
    [play] = handler.entities
    command = [''.join(part.perform(context) for part in word) for word in play.cmd]
    assert command == ['ros2', 'bag', 'play', '/data/kitti', '--clock']
    front, rear = _only(launch_ros.actions.LifecycleNode, actions)
    assert not handler.matches(_is_active(front))
    assert not handler.matches(_is_active(front))
    assert handler.matches(_is_active(rear))


def test_one_camera_leaves_the_node_in_the_namespace_given(seg_launch: ModuleType) -> None:
    for topic in ('/front/image_raw', '[/front/image_raw]'):
        assert _node_names(*_actions(seg_launch, image_topic=topic)) == ['/road_seg']
        nodes = _actions(seg_launch, image_topic=topic, namespace='car')
        assert _node_names(*nodes) == ['/car/road_seg']


def test_several_cameras_stay_below_a_namespace_pushed_from_outside(
    seg_launch: ModuleType,
) -> None:
    arguments = {'image_topic': 'front/image, rear/image', 'namespace': 'car'}
    context, actions = _actions(seg_launch, ros_namespace='/fleet', **arguments)
    names = ['/fleet/car/front/road_seg', '/fleet/car/rear/road_seg']
    assert _node_names(context, actions) == names


def test_several_cameras_cannot_share_an_absolute_topic(seg_launch: ModuleType) -> None:
    with pytest.raises(ValueError, match='mask_topic must not begin with /'):
        _actions(seg_launch, image_topic='/a/image, /b/image', mask_topic='/mask')


def test_rviz_shows_the_first_camera(seg_launch: ModuleType) -> None:
    topics = '/front/image_raw, /rear/image_raw'
    context, actions = _actions(seg_launch, image_topic=topics, rviz='true')
    [rviz] = [a for a in actions if type(a) is launch_ros.actions.Node]
    rviz._perform_substitutions(context)
    assert rviz.expanded_node_namespace == '/front'
