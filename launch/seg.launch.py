"""
Start road_seg_node for one camera or several, and on request rviz2 and a bag.

    ros2 launch road_seg_ros seg.launch.py image_topic:=/kitti/camera_color_left/image_raw
    ros2 launch road_seg_ros seg.launch.py image_topic:="/front/image_raw, /rear/image_raw"
    ros2 launch road_seg_ros seg.launch.py bag:=kitti_bag rviz:=true
    ros2 launch road_seg_ros seg.launch.py --show-args
"""

from __future__ import annotations

from collections.abc import Callable

from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.events.process import ProcessExited
from launch_ros.actions import LifecycleNode, Node
from launch_ros.events.lifecycle import StateTransition
from launch_ros.utilities import prefix_namespace
from rclpy.parameter import Parameter

from launch import (
    Event,
    EventHandler,
    LaunchContext,
    LaunchDescription,
    LaunchDescriptionEntity,
)
from road_seg_ros.cameras import Camera, find_cameras, require_relative
from road_seg_ros.parameters import BY_NAME, broken_rule
from road_seg_ros.resources import find_resource
from road_seg_ros.transport import profile_environment

BOOL = ('true', 'false')
LOG_LEVELS = ('debug', 'info', 'warn', 'error', 'fatal')
# Launch arguments that set a parameter of the same name; '' leaves it to params_file.
NODE_PARAMETERS = ('model_path', 'device', 'engine', 'precision', 'threshold')


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; everything else needs their values."""
    arguments = [
        _argument(
            'image_topic', 'camera/image_raw',
            'Camera topic to subscribe to. Several, with commas between them, start a node each: '
            'that of /front/image_raw is /front/road_seg.',
        ),
        _argument('mask_topic', 'road_seg/mask', 'Topic of the mono8 drivable mask.'),
        _argument('overlay_topic', 'road_seg/overlay', 'Topic of the overlay image.'),
        *(
            _argument(name, '', f'{BY_NAME[name].description} One of: {BY_NAME[name].rule}. '
                      'Empty: as params_file says.')
            for name in NODE_PARAMETERS
        ),
        _argument(
            'params_file', str(find_resource('config/seg.yaml')), 'YAML file of all parameters.'
        ),
        _argument('namespace', '', 'Namespace of the nodes and of their relative topics.'),
        _argument('use_sim_time', 'false', 'Take the time from /clock; bag implies it.', BOOL),
        _argument('rviz', 'false', 'Start rviz2 with the (first) mask and overlay.', BOOL),
        _argument('bag', '', 'rosbag2 to play with --clock once every node is active.'),
        _argument('respawn', 'false', 'Start a node again when it ends.', BOOL),
        _argument('log_level', 'info', 'Log level of the nodes.', LOG_LEVELS),
    ]  # fmt: skip
    return LaunchDescription([*arguments, OpaqueFunction(function=_start)])


def _argument(
    name: str, default: str, description: str, choices: tuple[str, ...] | None = None
) -> DeclareLaunchArgument:
    return DeclareLaunchArgument(
        name, default_value=default, description=description, choices=choices
    )


def _start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    args = context.launch_configurations
    namespace = prefix_namespace(args.get('ros_namespace'), args['namespace'])
    cameras = find_cameras(args['image_topic'], namespace)
    require_relative(cameras, mask_topic=args['mask_topic'], overlay_topic=args['overlay_topic'])
    # Only where asked for: params_file may say it too.
    asked = args['use_sim_time'] == 'true' or bool(args['bag'])
    sim_time = {'use_sim_time': True} if asked else {}
    nodes = [_road_seg_node(camera, args, sim_time) for camera in cameras]
    environment = profile_environment(context.environment)
    actions: list[LaunchDescriptionEntity] = [
        SetEnvironmentVariable(name, value) for name, value in environment.items()
    ]
    if args['bag']:
        play = ExecuteProcess(cmd=['ros2', 'bag', 'play', args['bag'], '--clock'], output='screen')
        # Not before: a player that starts blindly loses its first seconds.
        handler = EventHandler(matcher=_all_active(nodes), entities=[play], handle_once=True)
        actions.append(RegisterEventHandler(handler))
    actions += nodes
    if args['rviz'] == 'true':
        actions.append(_rviz(cameras[0], args, sim_time))
    return actions


def _road_seg_node(camera: Camera, args: dict[str, str], sim_time: dict) -> LifecycleNode:
    respawn = args['respawn'] == 'true'
    return LifecycleNode(
        package='road_seg_ros',
        executable='road_seg_node',
        name='road_seg',
        namespace=camera.namespace,
        parameters=[args['params_file'], {**_given_parameters(args), **sim_time}],
        remappings=[
            ('camera/image_raw', camera.topic),
            ('~/mask', args['mask_topic']),
            ('~/overlay', args['overlay_topic']),
            ('~/overlay/compressed', f'{args["overlay_topic"]}/compressed'),
        ],
        arguments=['--ros-args', '--log-level', args['log_level']],
        output='screen',
        emulate_tty=True,
        respawn=respawn,
        respawn_delay=1.0,
        on_exit=None if respawn else _end_launch,
    )


def _rviz(camera: Camera, args: dict[str, str], sim_time: dict) -> Node:
    return Node(
        package='rviz2',
        executable='rviz2',
        namespace=camera.namespace,
        arguments=['-d', str(find_resource('config/seg.rviz'))],
        parameters=[sim_time],
        remappings=[
            ('/road_seg/mask', args['mask_topic']),
            ('/road_seg/overlay', args['overlay_topic']),
        ],
    )


def _all_active(nodes: list[LifecycleNode]) -> Callable[[Event], bool]:
    """Return a matcher of the transition with which the last of the nodes becomes active."""
    active: set[LifecycleNode] = set()

    def matches(event: Event) -> bool:
        if not isinstance(event, StateTransition):
            return False
        if event.goal_state == 'active':
            active.add(event.action)
        else:
            active.discard(event.action)
        return active.issuperset(nodes)

    return matches


def _end_launch(event: ProcessExited, context: LaunchContext) -> Shutdown | None:
    """End the launch with any of its nodes: without, it would look alive and do nothing."""
    # Not when it ends already: launch_ros cannot be shut down twice.
    return None if context.is_shutdown else Shutdown(reason='road_seg_node ended')


def _given_parameters(args: dict[str, str]) -> dict[str, str | float]:
    """Return the parameters given on the command line, checked, with their own types."""
    given = {}
    for name in NODE_PARAMETERS:
        text = args[name]
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
