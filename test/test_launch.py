"""seg.launch.py starts a working node, where ROS 2 launch is installed."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
from builtin_interfaces.msg import Time
from graph import RELIABLE, Client, ros, running_node, wait_for
from lifecycle_msgs.msg import Transition
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from road_seg_ros import synthetic
from road_seg_ros.image_msgs import to_image
from road_seg_ros.transport import CHOSEN_BY_USER, PROFILE_VARIABLES

launch = pytest.importorskip('launch', reason='ROS 2 launch is not installed')
launch_ros = pytest.importorskip('launch_ros', reason='ROS 2 launch_ros is not installed')

from ament_index_python.packages import (  # noqa: E402
    PackageNotFoundError,
    get_package_prefix,
)
from launch.actions import LogInfo  # noqa: E402
from launched import BUSY_S, actions_of, description, installed, launched  # noqa: E402

from road_seg_ros.launching.cameras import find_cameras  # noqa: E402
from road_seg_ros.launching.nodes import published_topics  # noqa: E402

NODE_ARGUMENTS = {
    'mask_topic': 'road_seg/mask',
    'overlay_topic': 'road_seg/overlay',
    'model_path': '',
    'device': '',
    'engine': '',
    'precision': '',
    'threshold': '',
    'params_file': None,
    'namespace': '',
    'rviz': 'false',
    'log_level': 'info',
}
ARGUMENTS = {
    'seg.launch.py': {
        **NODE_ARGUMENTS,
        'image_topic': 'camera/image_raw',
        'input_transport': '',
        'use_sim_time': 'false',
        'autostart': 'true',
        'bag': '',
        'respawn': 'false',
    },
    'replay.launch.py': {
        **NODE_ARGUMENTS,
        'image_topic': '/camera/image_raw',
        'bag': None,
        'rate': '1.0',
        'loop': 'false',
        'start': '0.0',
    },
}
BOOLEANS = ('rviz', 'respawn', 'use_sim_time', 'autostart', 'loop')


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return installed(tmp_path / 'install')


@pytest.mark.parametrize('file', ARGUMENTS)
def test_every_argument_is_declared_and_described(file: str) -> None:
    context = launch.LaunchContext()
    declared = {a.name: a for a in description(file).get_launch_arguments()}
    assert set(declared) == set(ARGUMENTS[file])
    for name, default in ARGUMENTS[file].items():
        argument = declared[name]
        assert len(argument.description) > 10
        if argument.default_value is not None:
            text = ''.join(part.perform(context) for part in argument.default_value)
            assert default is None or text == default
        if name in BOOLEANS:
            assert list(argument.choices) == ['true', 'false', 'True', 'False']
    assert [a.name for a in declared.values() if a.default_value is None] == (
        ['bag'] if file == 'replay.launch.py' else []
    )


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
            with launched(
                'seg.launch.py',
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


def test_compressed_images_are_taken_where_asked_for(
    environment: dict[str, str], tiny_model: Path
) -> None:
    jpeg = cv2.imencode('.jpg', synthetic.render(0, 94, 310).image)[1].tobytes()
    with ros():
        client = Client()
        try:
            camera = client.create_publisher(CompressedImage, '/front/image/compressed', RELIABLE)
            with launched(
                'seg.launch.py',
                environment,
                *('image_topic:=/front/image', 'input_transport:=compressed'),
                *(f'model_path:={tiny_model}', 'engine:=torch', 'device:=cpu'),
            ) as process:
                wait_for(camera.get_subscription_count, 'the node to subscribe', BUSY_S)
                masks = client.listen('mask')
                message = CompressedImage(format='jpeg', data=jpeg)
                wait_for(lambda: camera.publish(message) or masks, 'a mask')
                assert (masks[-1].height, masks[-1].width) == (94, 310)
            assert process.returncode == 0
        finally:
            client.close()


def test_the_node_waits_for_a_manager_where_asked_for(
    environment: dict[str, str], tiny_model: Path
) -> None:
    with ros():
        client = Client()
        try:
            arguments = ('autostart:=false', f'model_path:={tiny_model}', 'engine:=torch')
            with launched('seg.launch.py', environment, *arguments) as process:
                wait_for(lambda: client.statuses, 'the node', BUSY_S)
                client.wait_for_status('inactive: lifecycle state unconfigured')
                assert client.change_state(Transition.TRANSITION_CONFIGURE)
                assert client.change_state(Transition.TRANSITION_ACTIVATE)
                client.wait_for_status('waiting for the first image')
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
            with launched(
                'seg.launch.py',
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
        ('model_path:=/no/model', 'road_seg_node ended with status 1'),
        ('rviz:=true', 'rviz:=true needs the package rviz2, which is not installed'),
        ('mask_topic:=bad topic', "mask_topic must be a topic, got 'bad topic'"),
        ('namespace:=my car', "namespace must be one like car/front, got 'my car'"),
    ],
)
def test_a_bad_argument_is_named_and_ends_the_launch(
    environment: dict[str, str], argument: str, words: str
) -> None:
    if argument == 'rviz:=true' and has_package('rviz2'):
        pytest.skip('rviz2 is installed')
    with launched('seg.launch.py', environment, argument) as process:
        output = process.communicate(timeout=BUSY_S)[0]
    assert words in output
    assert process.returncode == 1


def has_package(name: str) -> bool:
    """Whether a package is installed, as ROS has it."""
    try:
        return bool(get_package_prefix(name))
    except (PackageNotFoundError, OSError):  # OSError without any AMENT_PREFIX_PATH
        return False


def _only(kind: type, actions: list) -> list:
    return [action for action in actions if isinstance(action, kind)]


def _node_names(context: launch.LaunchContext, actions: list) -> list[str]:
    nodes = _only(launch_ros.actions.LifecycleNode, actions)
    for node in nodes:
        node._perform_substitutions(context)
    return [node.node_name for node in nodes]


def test_the_transport_profile_is_set_unless_the_user_chose(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in CHOSEN_BY_USER:
        monkeypatch.delenv(name, raising=False)
    for chosen, expected in ((False, set(PROFILE_VARIABLES)), (True, set())):
        if chosen:
            monkeypatch.setenv('FASTDDS_BUILTIN_TRANSPORTS', 'UDPv4')
        context, actions = actions_of('seg.launch.py')
        [node] = _only(launch_ros.actions.LifecycleNode, actions)
        added = node.process_description.additional_env or []
        assert {''.join(part.perform(context) for part in name) for name, _ in added} == expected


@pytest.mark.parametrize(
    ('arguments', 'published'),
    [
        ({}, {'/road_seg/mask', '/road_seg/overlay', '/road_seg/overlay/compressed'}),
        (
            {'mask_topic': '/road', 'overlay_topic': 'view', 'namespace': 'car'},
            {'/road', '/car/view', '/car/view/compressed', '/car/road_seg/class_confidence'},
        ),
    ],
)
def test_the_topics_that_a_node_publishes_follow_the_arguments(
    arguments: dict[str, str], published: set[str]
) -> None:
    args = {**NODE_ARGUMENTS, **arguments}
    [camera] = find_cameras('camera/image_raw', args['namespace'])
    found = published_topics(camera, args)
    assert published <= found
    assert len(found) == 8


def test_every_topic_that_a_node_publishes_is_known(tiny_model: Path) -> None:
    with ros(), running_node(model_path=str(tiny_model), engine='torch') as node:
        names = {name for name, _ in node.get_publisher_names_and_types_by_node('road_seg', '/')}
    [camera] = find_cameras('camera/image_raw')
    of_any_node = {'/rosout', '/parameter_events'}
    without_vision_msgs = {'/road_seg/label_info'}
    known = published_topics(camera, NODE_ARGUMENTS)
    assert names - of_any_node | without_vision_msgs == known


def test_one_camera_leaves_the_node_in_the_namespace_given() -> None:
    for topic in ('/front/image_raw', '[/front/image_raw]'):
        assert _node_names(*actions_of('seg.launch.py', image_topic=topic)) == ['/road_seg']
        nodes = actions_of('seg.launch.py', image_topic=topic, namespace='car')
        assert _node_names(*nodes) == ['/car/road_seg']


def test_several_cameras_stay_below_a_namespace_pushed_from_outside() -> None:
    arguments = {'image_topic': 'front/image, rear/image', 'namespace': 'car'}
    context, actions = actions_of('seg.launch.py', ros_namespace='/fleet', **arguments)
    names = ['/fleet/car/front/road_seg', '/fleet/car/rear/road_seg']
    assert _node_names(context, actions) == names


def test_several_cameras_cannot_share_an_absolute_topic() -> None:
    with pytest.raises(ValueError, match='mask_topic must not begin with /'):
        actions_of('seg.launch.py', image_topic='/a/image, /b/image', mask_topic='/mask')


def test_rviz_shows_the_first_camera_with_the_topics_of_the_launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = installed(tmp_path, 'rviz2')['AMENT_PREFIX_PATH']
    monkeypatch.setenv('AMENT_PREFIX_PATH', prefix)
    topics = '/front/image_raw, /rear/image_raw'
    context, actions = actions_of(
        'seg.launch.py', image_topic=topics, mask_topic='road', rviz='True'
    )
    [rviz] = [a for a in actions if type(a) is launch_ros.actions.Node]
    rviz._perform_substitutions(context)
    assert rviz.expanded_node_namespace == '/front'
    assert rviz.expanded_remapping_rules == [
        ('/camera/image_raw', '/front/image_raw'),
        ('/road_seg/mask', '/front/road'),
        ('/road_seg/overlay', '/front/road_seg/overlay'),
    ]


def test_a_parameter_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="params_file must be a YAML file, got '/no/file.yaml'"):
        actions_of('seg.launch.py', params_file='/no/file.yaml')


def test_a_parameter_file_without_a_section_for_the_node_is_named(
    tmp_path: Path,
) -> None:
    file = tmp_path / 'robot.yaml'
    file.write_text('road_seg: {ros__parameters: {threshold: 0.3}}')
    _, actions = actions_of('seg.launch.py', params_file=str(file))
    assert not _only(LogInfo, actions)
    context, actions = actions_of('seg.launch.py', params_file=str(file), namespace='car')
    [info] = _only(LogInfo, actions)
    text = ''.join(part.perform(context) for part in info.msg)
    assert text == f'warning: {file} has parameters for /road_seg, none for /car/road_seg'


@pytest.mark.parametrize('sections', [('/road_seg', '/**'), ('/**', '/road_seg')])
def test_an_argument_wins_over_every_section_of_the_parameter_file(
    environment: dict[str, str], tiny_model: Path, tmp_path: Path, sections: tuple[str, str]
) -> None:
    file = tmp_path / 'robot.yaml'
    text = '{section}: {{ros__parameters: {{threshold: 0.4, model_path: /no/model}}}}\n'
    file.write_text(''.join(text.format(section=section) for section in sections))
    with ros():
        client = Client()
        try:
            with launched(
                'seg.launch.py',
                environment,
                *(f'params_file:={file}', f'model_path:={tiny_model}', 'threshold:=0.9'),
            ):
                status = client.wait_for_status('waiting for the first image')
        finally:
            client.close()
    assert {v.key: v.value for v in status.values}['threshold'] == '0.900'


def test_a_home_folder_in_a_parameter_file_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'robot.yaml').write_text('/**: {ros__parameters: {threshold: 0.3}}')
    context, actions = actions_of('seg.launch.py', params_file='~/robot.yaml')
    [node] = [a for a in actions if isinstance(a, launch_ros.actions.LifecycleNode)]
    node._perform_substitutions(context)
    assert node._Node__expanded_parameter_arguments[0][0] == str(tmp_path / 'robot.yaml')


def test_a_bag_that_must_be_given_is_not_empty() -> None:
    with pytest.raises(ValueError, match='bag must be given, and is empty'):
        actions_of('replay.launch.py', bag='')
