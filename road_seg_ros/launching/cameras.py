"""The cameras of a launch: which topics they are, and where the node of each one stands."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from rclpy.exceptions import InvalidTopicNameException
from rclpy.expand_topic_name import expand_topic_name
from rclpy.validate_full_topic_name import validate_full_topic_name
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
    ValueError says what is wrong with the topics.
    """
    topics = _split(image_topic)
    try:
        if len(topics) == 1:
            validate_topic_name(topics[0])
            return [Camera(topics[0], namespace)]
        root = f'/{namespace.strip("/")}/'.replace('//', '/')
        absolute = [topic if topic.startswith('/') else root + topic for topic in topics]
        for topic in absolute:
            validate_full_topic_name(topic)
    except InvalidTopicNameException as error:
        reason = str(error).splitlines()[0].partition(': ')[2]
        raise ValueError(
            'image_topic must be a topic, or several like /front/image_raw, /rear/image_raw, '
            f'got {image_topic!r}: {reason}'
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


def require_relative(cameras: list[Camera], **outputs: str) -> None:
    """Raise ValueError if several cameras would publish on one topic; outputs by argument."""
    for argument, topic in outputs.items():
        if len(cameras) > 1 and topic.startswith('/'):
            raise ValueError(
                f'{argument} must not begin with / with {len(cameras)} cameras, got {topic!r}: '
                'all of them would publish on it'
            )


def _split(image_topic: str) -> list[str]:
    text = image_topic.strip()
    if text.startswith('[') and text.endswith(']'):
        text = text[1:-1]
    return [part.strip().strip('\'"') for part in text.split(',')]
