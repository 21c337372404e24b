"""The arguments of the launch files: one table each, read by the launch files and by the tests."""

from __future__ import annotations

from dataclasses import dataclass, replace

from road_seg_ros.graph_names import CAMERA_INPUT, CAMERA_TOPIC
from road_seg_ros.parameters import BY_NAME
from road_seg_ros.resources import find_resource

BOOL = ('true', 'false', 'True', 'False')  # a Python launch file may pass on str(True)
LOG_LEVELS = ('debug', 'info', 'warn', 'error', 'fatal')
# Parameters that an argument of the same name sets; '' leaves them to params_file.
NODE_PARAMETERS = ('model_path', 'device', 'engine', 'precision', 'threshold')


@dataclass(frozen=True)
class Argument:
    """A launch argument; one without a default must be given."""

    name: str
    default: str | None
    description: str
    choices: tuple[str, ...] | None = None


def _parameter(name: str) -> Argument:
    declared = BY_NAME[name]
    text = f'{declared.description} Values: {declared.rule}. Not given: as params_file says.'
    return Argument(name, '', text)


_IMAGE_TOPIC = Argument(
    'image_topic', CAMERA_INPUT,
    'Camera topic to subscribe to. Several, with commas between them, start a node each: '
    'that of /front/image_raw is /front/road_seg.',
)  # fmt: skip
_NODE = (
    Argument('mask_topic', 'road_seg/mask', 'Topic of the mono8 drivable mask.'),
    Argument('overlay_topic', 'road_seg/overlay', 'Topic of the overlay image.'),
    *(_parameter(name) for name in NODE_PARAMETERS),
    Argument('params_file', str(find_resource('config/seg.yaml')), 'YAML file of all parameters.'),
    Argument('namespace', '', 'Namespace of the nodes and of their relative topics.'),
    Argument('log_level', 'info', 'Log level of the nodes.', LOG_LEVELS),
)
_RVIZ = Argument(
    'rviz', 'false', 'Start rviz2 with the camera, mask and overlay, of the first camera.', BOOL
)
_BAG = Argument(
    'bag', '', 'Folder of a rosbag2 to play with its clock once every node listens, without the '
    'topics that the launch publishes; when it has been answered to its end, the launch ends.',
)  # fmt: skip

SEG = (
    _IMAGE_TOPIC,
    _parameter('input_transport'),
    *_NODE,
    Argument(
        'use_sim_time',
        'false',
        'Take the time from /clock, as with bag; false leaves it to params_file.',
        BOOL,
    ),
    Argument(
        'autostart',
        'true',
        'false: the nodes wait for a lifecycle manager; true leaves it to params_file.',
        BOOL,
    ),
    _RVIZ,
    _BAG,
    Argument(
        'respawn',
        'false',
        'Start a node again when it ends; otherwise the launch ends with it.',
        BOOL,
    ),
)
REPLAY = (  # without input_transport, which follows the bag
    replace(_BAG, default=None),
    # Absolute, as topics are in a bag: namespace is then for the nodes alone.
    replace(_IMAGE_TOPIC, default=CAMERA_TOPIC),
    Argument('rate', '1.0', 'How many times as fast as it was recorded to play the bag.'),
    Argument('loop', 'false', 'Begin again whenever the bag has ended.', BOOL),
    Argument('start', '0.0', 'Seconds of the bag to leave out at its beginning.'),
    _RVIZ,
    *_NODE,
)
