"""The cameras of a launch: which topics they are, and where the node of each one stands."""

from __future__ import annotations

from dataclasses import dataclass

from rclpy.exceptions import InvalidTopicNameException
from rclpy.validate_full_topic_name import validate_full_topic_name
from rclpy.validate_topic_name import validate_topic_name


@dataclass(frozen=True)
class Camera:
    """A camera's topic, and the namespace of the node that segments its images."""

    topic: str
    namespace: str


def find_cameras(image_topic: str, namespace: str = '') -> list[Camera]:
    """
    Return a camera for each topic of `image_topic`.

    image_topic: a topic, or several with commas between them, in brackets or not. The node of a
    single camera stands in `namespace`. With several, each stands in its topic without the last
    part, below `namespace`. ValueError says what is wrong with the topics.
    """
    topics = _split(image_topic)
    try:
        if len(topics) == 1:
            validate_topic_name(topics[0])
            return [Camera(topics[0], namespace)]
        cameras = [_camera_below(f'/{namespace.strip("/")}', topic) for topic in topics]
    except InvalidTopicNameException as error:
        reason = str(error).splitlines()[0].partition(': ')[2]
        raise ValueError(
            'image_topic must be a topic, or several like /front/image_raw, /rear/image_raw, '
            f'got {image_topic!r}: {reason}'
        ) from error
    by_topic: dict[str, Camera] = {}
    by_namespace: dict[str, Camera] = {}
    for camera in cameras:
        if by_topic.setdefault(camera.topic, camera) is not camera:
            raise ValueError(f'image_topic must name each camera once, got {camera.topic} twice')
        first = by_namespace.setdefault(camera.namespace, camera)
        if first is not camera:
            raise ValueError(
                f'image_topic must give each camera a namespace of its own, but {first.topic} '
                f'and {camera.topic} both give {camera.namespace}: launch each by itself, with '
                'another namespace'
            )
    return cameras


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


def _camera_below(root: str, topic: str) -> Camera:
    absolute = topic if topic.startswith('/') else f'{root.rstrip("/")}/{topic}'
    validate_full_topic_name(absolute)
    parent = topic.rpartition('/')[0].strip('/')
    return Camera(absolute, f'{root.rstrip("/")}/{parent}'.rstrip('/') or '/')
