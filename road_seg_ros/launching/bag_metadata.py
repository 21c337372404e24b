"""What the metadata.yaml of a rosbag2 says, read before anything is started for the bag."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from road_seg_ros.graph_names import COMPRESSED_IMAGE, IMAGE

TYPES = {'raw': IMAGE, 'compressed': COMPRESSED_IMAGE}


@dataclass(frozen=True)
class Images:
    """The images of a camera in a bag: their topic, and the input_transport to get them with."""

    topic: str
    transport: str


def read_topics(bag: str) -> dict[str, str]:
    """
    Return the type of every topic in a bag, by the topic's name.

    bag: path of the folder. ValueError says what is wrong with it.
    """
    import yaml  # comes with launch; the node does without

    folder = Path(bag).expanduser()
    metadata = folder / 'metadata.yaml'
    problem = f'bag must be the folder of a rosbag2, got {bag!r}: '
    if not folder.exists():
        raise ValueError(problem + 'it does not exist')
    if not folder.is_dir():
        raise ValueError(problem + 'it is a file; give the folder that it is in')
    if not metadata.is_file():
        raise ValueError(problem + 'it has no metadata.yaml, which `ros2 bag reindex` can make')
    try:
        information = yaml.safe_load(metadata.read_text(encoding='utf-8'))
        listed = information['rosbag2_bagfile_information']['topics_with_message_count']
        topics = [entry['topic_metadata'] for entry in listed]
        return {topic['name']: topic['type'] for topic in topics}
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f'{problem}{metadata} cannot be read ({type(error).__name__}: {reason}); '
            '`ros2 bag reindex` can make it anew'
        ) from error


def find_images(topic: str, topics: dict[str, str], transport: str = '') -> Images:
    """
    Return how a bag holds the images of a camera.

    topic: the camera's, in full; topics: as `read_topics` gives them; transport: raw or
    compressed, or '' for raw ones if there are any. ValueError if the bag has no such images.
    """
    for images in (Images(topic, 'raw'), Images(f'{topic}/compressed', 'compressed')):
        is_wanted = transport in ('', images.transport)
        if is_wanted and topics.get(images.topic) == TYPES[images.transport]:
            return images
    known = {name for name, kind in topics.items() if kind == TYPES['raw']}
    known |= {  # as image_topic takes them
        name.removesuffix('/compressed')
        for name, kind in topics.items()
        if kind == TYPES['compressed'] and name.endswith('/compressed')
    }
    wanted = f'{transport} images' if transport else 'images'
    raise ValueError(
        f'image_topic must name {wanted} of the bag, got {topic}: the bag has '
        f'{", ".join(sorted(known)) or "no images"}'
    )
