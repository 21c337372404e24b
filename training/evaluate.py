"""
Score a model on labelled images by the rules of the KITTI road benchmark.

    python -m training.evaluate --model FILE --data KITTI_DIR --json scores.json --pictures DIR

Every image is run as the node runs it, at its native size, through the same RoadSegmenter.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from road_seg_ros import checkpoint
from road_seg_ros.segmenter import RoadSegmenter, threshold_mask
from training.kitti_road import (
    NOT_SCORED,
    ROAD,
    DataError,
    Pair,
    find_pairs,
    split_fold,
)
from training.metrics import RoadCounts

# BGR: right is green, road that was missed red, what was wrongly called road blue.
TRUE_POSITIVE, FALSE_NEGATIVE, FALSE_POSITIVE = (0, 255, 0), (0, 0, 255), (255, 0, 0)
COLUMNS = ('max_f', 'avg_precision', 'precision', 'recall', 'fpr', 'fnr', 'threshold', 'iou')

log = logging.getLogger('training')


def evaluate(
    segmenter: RoadSegmenter, pairs: Sequence[Pair], pictures: Path | None = None
) -> dict[str, dict[str, float]]:
    """
    Return the perspective-view scores of each category and of `urban`, all of them together.

    pictures: folder for one PNG per image, named by rank: the worst F1 first. DataError on a pair
    that cannot be read. See `RoadCounts.scores` for the scores.
    """
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        for old in pictures.glob('[0-9][0-9][0-9]_f1_*.png'):  # of an evaluation before
            old.unlink()
    counts: dict[str, RoadCounts] = defaultdict(RoadCounts)
    f1_by_name: dict[str, float] = {}
    for pair in tqdm(pairs, unit='image'):
        image, label = pair.read()
        confidence = segmenter.confidence(image)
        counts[pair.category].add(confidence, label)
        if pictures is not None:
            mask = threshold_mask(confidence, segmenter.threshold)
            f1_by_name[pair.name] = _f1(mask, label)
            cv2.imwrite(str(pictures / f'{pair.name}.png'), draw_errors(image, mask, label))
    for rank, name in enumerate(sorted(f1_by_name, key=f1_by_name.get)):
        ranked = f'{rank:03d}_f1_{100 * f1_by_name[name]:.1f}_{name}.png'
        (pictures / f'{name}.png').replace(pictures / ranked)
    scores = {
        category: counts[category].scores(segmenter.threshold) for category in sorted(counts)
    }
    everything = sum(counts.values(), RoadCounts())
    return {'urban': everything.scores(segmenter.threshold), **scores}


def draw_errors(image: np.ndarray, mask: np.ndarray, label: np.ndarray) -> np.ndarray:
    """
    Return the image with right road green, missed road red and false road blue; unscored darker.

    image: uint8 (H, W, 3) BGR; mask: uint8 (H, W), road where not 0; label: as Pair.read_label.
    """
    called, road, scored = mask > 0, label == ROAD, label != NOT_SCORED
    picture = image.copy()
    picture[~scored] //= 2
    for where, color in (
        (called & road, TRUE_POSITIVE),
        (~called & road, FALSE_NEGATIVE),
        (called & ~road & scored, FALSE_POSITIVE),
    ):
        picture[where] = picture[where] // 2 + np.array(color, np.uint8) // 2
    return picture


def table(scores: dict[str, dict[str, float]]) -> str:
    """Return the scores as a Markdown table."""
    lines = [
        f'| category | {" | ".join(COLUMNS)} |',
        f'|---|{"---|" * len(COLUMNS)}',
    ]
    for category, values in scores.items():
        cells = (f'{values[name]:.{3 if name == "threshold" else 2}f}' for name in COLUMNS)
        lines.append(f'| {category} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def _f1(mask: np.ndarray, label: np.ndarray) -> float:
    called, road, scored = mask > 0, label == ROAD, label != NOT_SCORED
    hits = np.count_nonzero(called & road)
    total = np.count_nonzero(called & scored) + np.count_nonzero(road)
    return 2 * hits / total if total else 1.0


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, score and report. Returns the exit status."""
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', default='', help='model file; default: the one that ships')
    parser.add_argument(
        '--data', type=Path, required=True, help='folder with training/image_2 and gt_image_2'
    )
    parser.add_argument('--json', type=Path, help='write the scores to this file')
    parser.add_argument('--pictures', type=Path, help='write a picture of every image here')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    parser.add_argument('--engine', default='auto', help='auto, torch or openvino')
    parser.add_argument('--precision', default='auto', help='auto, fp32, fp16, bf16 or int8')
    parser.add_argument(
        '--validation-fold',
        action='store_true',
        help='score only the images that the model was validated on when it was trained',
    )
    args = parser.parse_args(arguments)
    try:
        pairs = find_pairs(args.data)
        segmenter = RoadSegmenter.from_checkpoint(
            args.model, args.device, args.engine, args.precision
        )
        if args.json:
            args.json.parent.mkdir(parents=True, exist_ok=True)
        if args.validation_fold:
            pairs = _validation_pairs(pairs, segmenter.info.training)
        scores = evaluate(segmenter, pairs, args.pictures)
    except (ValueError, OSError) as error:  # CheckpointError, EngineError, DataError
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(table(scores))
    print(
        f"{len(pairs)} images; percentages; iou at the model's threshold "
        f'{segmenter.threshold:.3f}, the other columns at the threshold with the best F1'
    )
    if args.json:
        report: dict[str, Any] = {
            'perspective': scores,
            'bev': None,
            'images': len(pairs),
            'model': str(checkpoint.find(args.model)),
            'model_threshold': segmenter.threshold,
        }
        args.json.write_text(json.dumps(report, indent=2), encoding='utf-8')
    return 0


def _validation_pairs(pairs: Sequence[Pair], training: Any) -> list[Pair]:
    if training.get('fold', -1) < 0 or 'folds' not in training:
        raise DataError('this model was trained without a validation fold')
    return split_fold(pairs, training['folds'], training['fold'])[1]


if __name__ == '__main__':
    sys.exit(main())
