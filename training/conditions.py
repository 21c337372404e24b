"""
Score a model on labelled images as other cameras, in other weather, would have taken them.

    python -m training.conditions --model FILE --data KITTI_DIR --validation-fold

What counts away from home is the IoU at the threshold that the model ships with: a robot does not
know a better one. Weather, bonnets and lines are those of the augmentation, so a model trained
with them is at an advantage; synthetic scenes of unseen seeds are the same for all.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from road_seg_ros import markdown
from road_seg_ros.arguments import new_file
from road_seg_ros.metrics import RoadCounts
from road_seg_ros.pixels import resize_label, threshold_mask
from road_seg_ros.segmenter import RoadSegmenter
from training import augmentation, command, other_roads
from training.dataset import Sample, render_synthetic
from training.error_pictures import ErrorPictures
from training.evaluate import add_model_arguments, load
from training.kitti_road import Pair

COLUMNS = ('max_f', 'iou', 'threshold', 'ece')
SYNTHETIC_SCENES = 40  # of seeds 0, 1, ...; training takes others

log = logging.getLogger('training')

Condition = Callable[[np.ndarray, np.ndarray, np.random.Generator], Sample]


def crop(aspect: float) -> Condition:
    """Return the condition of a camera with that width / height, cut from the image's middle."""

    def cut(image: np.ndarray, label: np.ndarray, _: np.random.Generator) -> Sample:
        height, width = label.shape
        columns = min(width, max(1, round(height * aspect)))
        rows = min(height, max(1, round(width / aspect)))
        top, left = (height - rows) // 2, (width - columns) // 2
        part = np.s_[top : top + rows, left : left + columns]
        return image[part], label[part]

    return cut


def weather(effect: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Condition:
    """Return the condition of one of `augmentation.WEATHER`."""

    def change(image: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> Sample:
        rgb = effect(np.ascontiguousarray(image[..., ::-1], np.float32), rng)
        return np.clip(rgb, 0, 255).round().astype(np.uint8)[..., ::-1], label

    return change


def other_road(effect: Callable[[np.ndarray, np.ndarray, np.random.Generator], None]) -> Condition:
    """Return the condition of one of the changes of `other_roads`."""

    def change(image: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> Sample:
        rgb, label = image[..., ::-1].copy(), label.copy()
        effect(rgb, label, rng)
        return rgb[..., ::-1], label

    return change


def small(image: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> Sample:
    """Return what a cheap camera of 480x360 pixels would give: cut, shrunk and compressed."""
    image, label = crop(4 / 3)(image, label, rng)
    image = cv2.resize(image, (480, 360), interpolation=cv2.INTER_AREA)
    label = resize_label(label, (360, 480))
    jpeg = cv2.imencode('.jpg', image, (cv2.IMWRITE_JPEG_QUALITY, 50))[1]
    return cv2.imdecode(jpeg, cv2.IMREAD_COLOR), label


CONDITIONS: dict[str, Condition] = {
    'as it is': lambda image, label, _: (image, label),
    '16:9': crop(16 / 9),
    '4:3': crop(4 / 3),
    '480x360 jpeg': small,
    **{effect.__name__.replace('_', ' '): weather(effect) for effect, _ in augmentation.WEATHER},
    'bonnet in view': other_road(other_roads.put_bonnet),
    'painted line': other_road(other_roads.paint_line),
}


def score(
    segmenter: RoadSegmenter, pairs: Sequence[Pair], pictures: Path | None = None
) -> dict[str, dict[str, float]]:
    """
    Return the scores of all images together under each condition, and of synthetic scenes.

    A condition under which no image shows road is left out.

    pictures: folder for an error picture of each synthetic scene. See `RoadCounts.scores`. Each
    condition draws from its own generator, the same every time. SourceError on a pair that cannot
    be read.
    """
    gallery = ErrorPictures(pictures) if pictures else None
    counts = {name: RoadCounts() for name in CONDITIONS}
    for index, pair in enumerate(tqdm(pairs, unit='image')):
        image, label = pair.read()
        for number, (name, condition) in enumerate(CONDITIONS.items()):
            seen, truth = condition(image, label, np.random.default_rng((index, number)))
            counts[name].add(segmenter(np.ascontiguousarray(seen)).confidence, truth)
    counts['synthetic'] = RoadCounts()
    for seed, (image, label) in enumerate(render_synthetic(SYNTHETIC_SCENES, first_seed=0)):
        confidence = segmenter(image).confidence
        counts['synthetic'].add(confidence, label)
        if gallery:
            mask = threshold_mask(confidence, segmenter.threshold)
            gallery.add(f'synthetic_{seed:06d}', image, mask, label)
    if gallery:
        gallery.rank()
    for name in [name for name, count in counts.items() if not count.road.any()]:
        log.warning('%s: no image shows any road', name)
        del counts[name]
    return {name: count.scores(segmenter.threshold) for name, count in counts.items()}


def table(scores: dict[str, dict[str, float]]) -> str:
    """Return scores by condition as a Markdown table."""
    return markdown.table(
        ('condition', *COLUMNS),
        [(name, *(f'{row[column]:.2f}' for column in COLUMNS)) for name, row in scores.items()],
    )


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, score and report. Returns the exit status."""
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_arguments(parser)
    parser.add_argument('--json', type=new_file, help='write the scores to this file')
    parser.add_argument(
        '--pictures', type=Path, help='write a picture of every synthetic scene here, worst first'
    )
    args = parser.parse_args(arguments)
    try:
        segmenter, pairs = load(args)
        scores = score(segmenter, pairs, args.pictures)
        print(table(scores))
        if args.json:
            args.json.write_text(json.dumps(scores, indent=2), encoding='utf-8')
    except (ValueError, OSError) as error:  # CheckpointError, EngineError, SourceError
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    command.run(main)
