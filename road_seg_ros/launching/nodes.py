"""What the launch files start: a node for each camera, and on request rviz2 and a bag."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, Shutdown
from launch.events.process import ProcessExited
from launch_ros.actions import LifecycleNode, Node
from launch_ros.utilities import prefix_namespace
from rclpy.parameter import Parameter

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from road_seg_ros.graph_names import CAMERA_INPUT, CAMERA_TOPIC, NODE_NAME
from road_seg_ros.launching.arguments import BOOL, NODE_PARAMETERS, Argument
from road_seg_ros.launching.bag_metadata import find_images, read_topics
from road_seg_ros.launching.bag_player import play_bag
from road_seg_ros.launching.cameras import Camera, check_outputs, find_cameras
from road_seg_ros.launching.params_file import find_params_file, unread_sections
from road_seg_ros.parameters import BY_NAME, broken_rule
from road_seg_ros.resources import find_resource
from road_seg_ros.transport import profile_environment

# What a node publishes beside the outputs that arguments name.
OTHER_OUTPUTS = (
    *('~/confidence', '~/class_confidence', '~/label_info'),
    *('~/transition_event', '/diagnostics'),
)


def describe(arguments: Sequence[Argument]) -> LaunchDescription:
    """Declare the arguments; everything else needs their values."""
    declared = [
        DeclareLaunchArgument(
            argument.name,
            default_value=argument.default,
            description=argument.description,
            choices=argument.choices,
        )
        for argument in arguments
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start, args=[arguments])])


def start(context: LaunchContext, arguments: Sequence[Argument]) -> list[LaunchDescriptionEntity]:
    """Return all that the values of the arguments ask for; ValueError says what is wrong."""
    configurations = context.launch_configurations
    # No others: a launch file that includes this one may have a `rate` of its own.
    args = {argument.name: configurations[argument.name] for argument in arguments}
    args |= {a.name: args[a.name].lower() for a in arguments if a.choices == BOOL}
    for argument in arguments:
        if argument.default is None and not args[argument.name]:
            raise ValueError(f'{argument.name} must be given, and is empty')
    params_file = find_params_file(args['params_file'])
    args['params_file'] = str(params_file)
    namespace = prefix_namespace(configurations.get('ros_namespace'), args['namespace'])
    cameras = find_cameras(args['image_topic'], namespace)
    outputs = [(name, topic) for name, _, topic in _named_outputs(args)]
    check_outputs(cameras, outputs, OTHER_OUTPUTS)
    if args['rviz'] == 'true':
        _require_rviz()
    parameters: dict[str, object] = {**_given_parameters(args)}
    bag = args['bag']
    if args.get('autostart') == 'false':
        parameters['autostart'] = False
    # Only where asked for: params_file may say it too.
    if args.get('use_sim_time') == 'true' or bag:
        parameters['use_sim_time'] = True
    images = {}
    if bag:
        topics = read_topics(bag)
        transport = args.get('input_transport', '')
        images = {c.node: find_images(c.full_topic, topics, transport) for c in cameras}
    # Not for the whole launch, which may start programs of others.
    environment = profile_environment(context.environment)
    actions: list[LaunchDescriptionEntity] = []
    nodes = [camera.node for camera in cameras]
    if unread := unread_sections(params_file, nodes):
        text = f'{params_file} has parameters for {", ".join(unread)}, none for {", ".join(nodes)}'
        actions.append(LogInfo(msg=f'warning: {text}'))
    for camera in cameras:
        of_bag = {'input_transport': images[camera.node].transport} if bag else {}
        actions.append(_road_seg_node(camera, args, {**parameters, **of_bag}, environment))
    if args['rviz'] == 'true':
        use_sim_time = parameters.get('use_sim_time', False)
        actions.append(_rviz(cameras[0], args, use_sim_time, environment))
    if bag:
        listened = {node: image.topic for node, image in images.items()}
        published = {name for camera in cameras for name in published_topics(camera, args)}
        actions += play_bag(bag, listened, topics, published, args, environment)
    return actions


def published_topics(camera: Camera, args: Mapping[str, str]) -> set[str]:
    """Return the full names of the topics that the node of a camera publishes."""
    names = (*(topic for _, _, topic in _named_outputs(args)), *OTHER_OUTPUTS)
    return {camera.full_name(name) for name in names}


def _named_outputs(args: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return the argument, the node's name and the topic of each output that has an argument."""
    overlay = args['overlay_topic']
    return [
        ('mask_topic', '~/mask', args['mask_topic']),
        ('overlay_topic', '~/overlay', overlay),
        ('overlay_topic', '~/overlay/compressed', f'{overlay}/compressed'),
    ]


def _road_seg_node(
    camera: Camera,
    args: dict[str, str],
    parameters: dict[str, object],
    environment: dict[str, str],
) -> LifecycleNode:
    respawn = args.get('respawn') == 'true'
    # Twice, for this node and for all: of the sections of params_file, rcl reads the first and
    # those of the same name, then the next, so that either one alone can be overridden by it.
    for_all = []
    for name, value in parameters.items():
        for_all += ['-p', f'{name}:={json.dumps(value, ensure_ascii=False)}']
    return LifecycleNode(
        package='road_seg_ros',
        executable='road_seg_node',
        name=NODE_NAME,
        namespace=camera.namespace,
        parameters=[args['params_file'], parameters],
        remappings=[
            (CAMERA_INPUT, camera.topic),
            *((output, topic) for _, output, topic in _named_outputs(args)),
        ],
        arguments=['--ros-args', '--log-level', args['log_level'], *for_all],
        additional_env=environment,
        output='screen',
        emulate_tty=True,
        respawn=respawn,
        respawn_delay=1.0,
        on_exit=None if respawn else _end_launch,
    )


def _rviz(
    camera: Camera, args: dict[str, str], use_sim_time: bool, environment: dict[str, str]
) -> Node:
    return Node(
        package='rviz2',
        executable='rviz2',
        namespace=camera.namespace,
        arguments=['-d', str(find_resource('config/seg.rviz'))],
        parameters=[{'use_sim_time': True}] if use_sim_time else [],
        additional_env=environment,
        # From the topics that seg.rviz names.
        remappings=[
            (CAMERA_TOPIC, camera.full_topic),
            ('/road_seg/mask', camera.full_name(args['mask_topic'])),
            ('/road_seg/overlay', camera.full_name(args['overlay_topic'])),
        ],
    )


def _end_launch(event: ProcessExited, context: LaunchContext) -> Shutdown | None:
    """End the launch with any of its nodes: without, it would look alive and do nothing."""
    if context.is_shutdown:  # launch_ros cannot be shut down twice
        return None
    if event.returncode:  # raised, for the launch to end with a status too
        raise RuntimeError(f'road_seg_node ended with status {event.returncode}')
    return Shutdown(reason='road_seg_node ended')


def _require_rviz() -> None:
    """Raise ValueError without rviz2, which launch would miss once the nodes run."""
    try:
        get_package_prefix('rviz2')
    except PackageNotFoundError as error:
        raise ValueError('rviz:=true needs the package rviz2, which is not installed') from error


def _given_parameters(args: dict[str, str]) -> dict[str, str | float]:
    """Return the parameters given on the command line, checked, with their own types."""
    given = {}
    for name in ('input_transport', *NODE_PARAMETERS):
        text = args.get(name)
        if not text:
            continue
        value: str | float = text
        if isinstance(BY_NAME[name].default, float):
            try:
                value = float(text)
            except ValueError:
                pass  # refused below, with the rule
        if problem := broken_rule([Parameter(name, value=value)]):
            raise ValueError(problem)
        given[name] = value
    return given
