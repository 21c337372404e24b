"""The images of a bag that have ground truth, as kitti_to_bag writes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from sensor_msgs.msg import Image

from road_seg_ros.bags.reading import (
    GROUND_TRUTH_TOPIC,
    Bag,
    BagError,
    Topic,
    deserialize,
    find_camera,
    header_stamp_ns,
)
from road_seg_ros.graph_names import IMAGE
from road_seg_ros.image_msgs import ImageError, image_to_bgr
from road_seg_ros.metrics import LEVELS, NOT_ROAD, NOT_SCORED, ROAD, TRUTH

UNPAIRED = 100  # images and masks that wait for the other one of their stamp


@dataclass(frozen=True)
class Labelled:
    """A recorded image and its ground truth."""

    stamp_ns: int
    time_ns: int  # in the bag
    image: bytes  # serialised, as recorded
    label: np.ndarray  # uint8 (H, W) of NOT_ROAD, ROAD and NOT_SCORED


class LabelledImages:
    """
    Iterates over the images that have ground truth of the same stamp.

    topic: of the images; the one with most of them if empty. BagError says what the bag lacks or
    has wrong, when it is opened or on the way.
    """

    def __init__(self, bag: Bag, topic: str = '', truth_topic: str = GROUND_TRUTH_TOPIC) -> None:
        self._bag = bag
        self.topic, self._truth = _find_topics(bag, topic, truth_topic)
        self.unlabelled = 0  # images without, up to now

    def __iter__(self) -> Iterator[Labelled]:
        self.unlabelled = 0
        unpaired: dict[Topic, dict[int, tuple[int, bytes]]] = {self.topic: {}, self._truth: {}}
        for topic, time_ns, data in self._bag.messages((self.topic, self._truth)):
            try:
                stamp = header_stamp_ns(data)
            except BagError as error:
                raise BagError(f'{self._bag.path}, {topic.name}: {error}') from error
            unpaired[topic][stamp] = time_ns, data
            if all(stamp in waiting for waiting in unpaired.values()):
                time_ns, image = unpaired[self.topic].pop(stamp)
                _, mask = unpaired[self._truth].pop(stamp)
                label = _label(mask, f'{self._bag.path}, {self._truth.name}')
                yield Labelled(stamp, time_ns, image, label)
            elif len(unpaired[topic]) > UNPAIRED:
                del unpaired[topic][next(iter(unpaired[topic]))]
                self.unlabelled += topic == self.topic
        self.unlabelled += len(unpaired[self.topic])


def _find_topics(bag: Bag, topic: str, truth_topic: str) -> tuple[Topic, Topic]:
    there = ', '.join(map(str, bag.topics)) or 'nothing'
    truths = [t for t in bag.topics if t.name == truth_topic and t.type == IMAGE]
    if not truths:
        raise BagError(
            f'{bag.path} has no ground truth on {truth_topic} ({IMAGE}); there is {there}'
        )
    others = [t for t in bag.topics if t.name != truth_topic and topic in ('', t.name)]
    if (images := find_camera(others)) is None:
        raise BagError(f'{bag.path} has no images on {topic or "any topic"}: {there}')
    return images, truths[0]


def _label(data: bytes, where: str) -> np.ndarray:
    try:
        pixels = image_to_bgr(deserialize(data, Image))[..., 0]
    except (BagError, ImageError) as error:
        raise BagError(f'{where}: {error}') from error
    label = np.zeros(LEVELS, np.uint8)
    label[list(TRUTH.values())] = list(TRUTH)
    strange = ~np.isin(pixels, list(TRUTH.values()))
    if strange.any():
        raise BagError(
            f'{where} has pixels of value {pixels[strange][0]}; {TRUTH[ROAD]} is road, '
            f'{TRUTH[NOT_ROAD]} is not, and {TRUTH[NOT_SCORED]} is not scored'
        )
    return label[pixels]
