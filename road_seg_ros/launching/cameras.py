"""The cameras of a launch: which topics they are, and where the node of each one stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rclpy.exceptions import InvalidNamespaceException, InvalidTopicNameException
from rclpy.expand_topic_name import expand_topic_name
from rclpy.validate_full_topic_name import validate_full_topic_name
from rclpy.validate_namespace import validate_namespace
from rclpy.validate_topic_name import validate_topic_name

from road_seg_ros.graph_names import NODE_NAME


@dataclass(frozen=True)
class Camera:
    """A camera's topic, and the namespace of the node that segments its images."""

    topic: str
    namespace: str

    @property
    def node(self) -> str:
        """The full name of the node."""
        return self.full_name(NODE_NAME)

    @property
    def full_topic(self) -> str:
        """The topic's full name."""
        return self.full_name(self.topic)

    def full_name(self, topic: str) -> str:
        """Return the full name of what the node calls `topic`."""
        return expand_topic_name(topic, NODE_NAME, f'/{self.namespace.strip("/")}')


def find_cameras(image_topic: str, namespace: str = '') -> list[Camera]:
    """
    Return a camera for each topic of `image_topic`.

    image_topic: a topic, or several with commas between them, in brackets or not. The node of a
    single camera is in `namespace`. With several, each is in a namespace below that, named after
    its topic without the last part; with the last part where two would have the same one, and
    after the whole topic where they still would.
    ValueError says what is wrong with the topics, or with the namespace.
    """
    topics = _split(image_topic)
    if len(topics) > 1 and not all(topics):
        raise ValueError(
            'image_topic must have a topic on either side of a comma, '
            f'got {image_topic!r}: one is missing'
        )
    try:
        validate_namespace(f'/{namespace.strip("/")}')
    except InvalidNamespaceException as error:
        raise ValueError(
            f'namespace must be one like car/front, got {namespace!r}: {_reason(error)}'
        ) from error
    try:
        if len(topics) == 1:
            validate_topic_name(topics[0])
            camera = Camera(topics[0], namespace)
            validate_full_topic_name(camera.full_topic)
            return [camera]
        root = f'/{namespace.strip("/")}/'.replace('//', '/')
        absolute = [topic if topic.startswith('/') else root + topic for topic in topics]
        for topic in absolute:
            validate_full_topic_name(topic)
    except (InvalidTopicNameException, ValueError) as error:
        raise ValueError(
            'image_topic must be a topic, or several like /front/image_raw, /rear/image_raw, '
            f'got {image_topic!r}: {_reason(error)}'
        ) from error
    if repeated := [topic for topic, count in Counter(absolute).items() if count > 1]:
        raise ValueError(f'image_topic must name each camera once, got {repeated[0]} twice')
    below = [topic.strip('/') for topic in topics]
    parents = [path.rpartition('/')[0] for path in below]
    whole = [topic.strip('/') for topic in absolute]  # 'a/b, /a/b' differ in nothing else
    places = next(tried for tried in (parents, below, whole) if len(set(tried)) == len(tried))
    return [
        Camera(topic, f'{root}{place}'.rstrip('/') or '/')
        for topic, place in zip(absolute, places, strict=True)
    ]


def check_outputs(
    cameras: list[Camera], outputs: Sequence[tuple[str, str]], others: Sequence[str] = ()
) -> None:
    """
    Raise ValueError if an output cannot be published where it is to be.

    outputs: the name of an argument, and a topic that it leads to. others: the topics that a node
    publishes on besides.
    """
    taken = {camera.full_name(name): 'another output' for camera in cameras for name in others}
    taken |= {camera.full_topic: 'image_topic' for camera in cameras}
    for argument, topic in outputs:
        if len(cameras) > 1 and topic.startswith('/'):
            raise ValueError(
                f'{argument} must not begin with / with {len(cameras)} cameras, got {topic!r}: '
                'all of them would publish on it'
            )
        for camera in cameras:
            try:
                validate_topic_name(topic)
                name = camera.full_name(topic)
                validate_full_topic_name(name)
            except (InvalidTopicNameException, ValueError) as error:
                raise ValueError(
                    f'{argument} must be a topic, got {topic!r}: {_reason(error)}'
                ) from error
            if name in taken:
                raise ValueError(f'{argument} must be a topic of its own, {name} is {taken[name]}')
            taken[name] = argument


def _reason(error: Exception) -> str:
    """Return what rclpy says is wrong with a name: one line, without the name."""
    line = str(error).splitlines()[0].partition(': ')[2]
    return line.partition(', at /')[0].rstrip(':')  # without the place in rcl's source


def _split(image_topic: str) -> list[str]:
    text = image_topic.strip()
    if text.startswith('[') and text.endswith(']'):
        text = text[1:-1]
    return [part.strip().strip('\'"') for part in text.split(',')]
