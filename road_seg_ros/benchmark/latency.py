"""From an image to its mask, without ROS: as a whole, stage by stage, and as a stream."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from road_seg_ros.benchmark.timing import Durations, Sampler, interleave, timed

if TYPE_CHECKING:
    from road_seg_ros.segmenter import RoadSegmenter

WHOLE = 'image to mask'
CONVERT, PUBLISH = 'convert', 'publish'
STREAM_S, STREAM_ROUNDS, FEWEST_IN_STREAM = 1.0, 3, 10


@dataclass(frozen=True)
class Latency:
    """
    What one engine takes for an image.

    whole: from uint8 image to mask, without the confidence, as the node asks for it. stages: of
    the same, run one by one, with `convert` (message to BGR) before and `publish` (mask to
    message) behind where ROS's message types are installed. overlay_stages: the same with an
    overlay and its message. frames_per_s: of a stream, with two images under way.
    """

    device: str
    whole: Durations
    stages: dict[str, Durations]
    overlay_stages: dict[str, Durations]
    frames_per_s: float

    @staticmethod
    def rest_ms(stages: Mapping[str, Durations]) -> float:
        """Return the medians of everything but the network."""
        return sum(stage.median for name, stage in stages.items() if name != 'network')


def measure(
    segmenters: Mapping[str, RoadSegmenter], images: Sequence[np.ndarray], repeats: int
) -> dict[str, Latency]:
    """
    Measure every segmenter, in turns.

    images: uint8 (H, W, 3) BGR; repeats: images each for the whole; the stages take a quarter.
    """
    wholes = interleave(
        {
            name: timed(WHOLE, lambda image, s=segmenter: s.submit(image, confidence=False)())
            for name, segmenter in segmenters.items()
        },
        images,
        repeats,
    )
    few = max(1, repeats // 4)
    plain, tinted = (
        interleave(
            {name: _stages(segmenter, overlay) for name, segmenter in segmenters.items()},
            images,
            few,
        )
        for overlay in (False, True)
    )
    streams = _stream_rates(
        segmenters, images, {name: wholes[name][WHOLE].median for name in segmenters}
    )
    return {
        name: Latency(
            segmenter.engine.device,
            wholes[name][WHOLE],
            plain[name],
            tinted[name],
            streams[name],
        )
        for name, segmenter in segmenters.items()
    }


def _stream_rates(
    segmenters: Mapping[str, RoadSegmenter],
    images: Sequence[np.ndarray],
    medians_ms: Mapping[str, float],
) -> dict[str, float]:
    """Return frames a second, from streams of about STREAM_S each; medians_ms: of one image."""
    samplers, counts = {}, {}
    for name, segmenter in segmenters.items():
        counts[name] = max(FEWEST_IN_STREAM, round(1e3 * STREAM_S / medians_ms[name]))

        def run(_: None, s: RoadSegmenter = segmenter, count: int = counts[name]) -> None:
            for _ in s.stream(itertools.islice(itertools.cycle(images), count), confidence=False):
                pass

        samplers[name] = timed(WHOLE, run)
    found = interleave(samplers, [None], STREAM_ROUNDS, warm_up=0, block=1)
    return {name: 1e3 * counts[name] / found[name][WHOLE].median for name in samplers}


def _stages(segmenter: RoadSegmenter, overlay: bool) -> Sampler[np.ndarray]:
    """Return a sampler of the stages of an image, with the messages round them."""
    from road_seg_ros.engines import Tint, Wanted

    tint = Tint((0, 255, 0), 0.5) if overlay else None

    def sample(image: np.ndarray) -> Mapping[str, float]:
        wanted = Wanted(segmenter.threshold, confidence=False, tint=tint)
        return segmenter.engine.stage_times(image, wanted)

    return _with_messages(sample, overlay)


def _with_messages(sample: Sampler[np.ndarray], overlay: bool) -> Sampler[np.ndarray]:
    """Add what the messages cost; where ROS's message types are not installed, they cost none."""
    try:
        from std_msgs.msg import Header

        from road_seg_ros.image_msgs import image_to_bgr, to_image
    except ImportError:
        return sample
    convert = timed(CONVERT, image_to_bgr)
    publish = timed(PUBLISH, lambda outputs: [to_image(*o, Header()) for o in outputs])

    def sample_all(image: np.ndarray) -> dict[str, float]:
        received = to_image(image, 'rgb8', Header())  # bgr8, as few drivers send it, costs nothing
        outputs = [(np.ascontiguousarray(image[..., 0]), 'mono8')]
        if overlay:
            outputs.append((image, 'bgr8'))
        return {**convert(received), **sample(image), **publish(outputs)}

    return sample_all
