"""
Score a model on labelled images by the rules of the KITTI road benchmark.

    python -m training.evaluate --model FILE --data KITTI_DIR --json scores.json --plots DIR

Every image is run as the node runs it, at its native size, through the same RoadSegmenter. With
training/calib/<name>.txt for every image, the bird's-eye view is scored too.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from road_seg_ros import checkpoint
from road_seg_ros.arguments import height_by_width, new_file
from road_seg_ros.checkpoint import InputSize, ModelInfo
from road_seg_ros.image_files import SourceError
from road_seg_ros.metrics import RoadCounts
from road_seg_ros.pixels import threshold_mask
from road_seg_ros.segmenter import RoadSegmenter
from training import command, report
from training.birds_eye import BirdsEyeView, RoadCalibration
from training.error_pictures import ErrorPictures
from training.kitti_road import Pair, find_pairs
from training.plots import plot_precision_recall, plot_reliability
from training.provenance import split_as_trained, why_scores_flatter
from training.report import ImageResult

log = logging.getLogger('training')


def score_images(
    segmenter: RoadSegmenter,
    pairs: Sequence[Pair],
    pictures: Path | None = None,
    flip: bool = False,
) -> list[ImageResult]:
    """
    Run the model over labelled images and count each one, in the order of `pairs`.

    pictures: folder for an error picture of every image. flip: see `predict`. The bird's-eye view
    is counted if every pair has a calibration file, and some road is seen in it. SourceError on a
    file that cannot be read.
    """
    calibrations = _read_calibrations(pairs)
    gallery = ErrorPictures(pictures) if pictures is not None else None
    results = []
    for pair in tqdm(pairs, unit='image'):
        image, label = pair.read()
        confidence = predict(segmenter, image, flip)
        perspective = RoadCounts()
        perspective.add(confidence, label)
        bev = None
        if calibrations is not None:
            bev = _count_birds_eye(calibrations[pair.name], confidence, label)
        results.append(ImageResult(pair.category, perspective, bev))
        if gallery is not None:
            gallery.add(pair.name, image, threshold_mask(confidence, segmenter.threshold), label)
    if gallery is not None:
        gallery.rank()
    if calibrations is not None and not any(result.bev.road.any() for result in results):
        log.warning("no bird's-eye view: it shows no road; check the files in training/calib")
        results = [dataclasses.replace(result, bev=None) for result in results]
    return results


def predict(segmenter: RoadSegmenter, image: np.ndarray, flip: bool = False) -> np.ndarray:
    """
    Return the 8-bit road confidence, uint8 (H, W), of an image, uint8 (H, W, 3) BGR.

    flip: average the image's and the mirrored image's, which doubles the time. The node does not.
    """
    confidence = segmenter(image).confidence
    if not flip:
        return confidence
    mirrored = cv2.flip(segmenter(cv2.flip(image, 1)).confidence, 1)
    return cv2.addWeighted(confidence, 0.5, mirrored, 0.5, 0.0)


def write_plots(results: Sequence[ImageResult], folder: Path) -> None:
    """Write precision-recall and reliability diagrams of each view that was scored, as PNG."""
    for view, title in report.VIEWS.items():
        by_category = report.counts_of_view(results, view)
        if by_category is None:
            continue
        totals = report.totals(by_category)
        plot_precision_recall(totals, title, folder / f'precision_recall_{view}.png')
        plot_reliability(totals, title, folder / f'reliability_{view}.png')


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, score and report. Returns the exit status."""
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    args = _parser().parse_args(arguments)
    try:
        segmenter, pairs = load(args)
        if args.plots:
            args.plots.mkdir(parents=True, exist_ok=True)
        results = score_images(segmenter, pairs, args.pictures, args.flip)
        scores = report.build(results, segmenter.threshold)
        if args.plots:
            write_plots(results, args.plots)
        scores['model'] = str(checkpoint.find(args.model))
        scores['model_threshold'] = segmenter.threshold
        engine = segmenter.engine
        scores |= {'engine': engine.name, 'precision': engine.precision, 'device': engine.device}
        size = segmenter.info.input
        scores |= {'flip': args.flip, 'size': f'{size.height}x{size.width}'}
        text = report.as_markdown(scores)
        print(text)
        if args.markdown:
            args.markdown.write_text(f'{text}\n', encoding='utf-8')
        if args.json:
            args.json.write_text(json.dumps(scores, indent=2), encoding='utf-8')
    except (ValueError, OSError) as error:  # CheckpointError, EngineError, SourceError
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which model is scored, how it is run, and on which images."""
    parser.add_argument('--model', default='', help='model file; default: the one that ships')
    parser.add_argument(
        '--data', type=Path, required=True, help='folder with training/image_2 and gt_image_2'
    )
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    parser.add_argument('--engine', default='auto', help='auto, torch or openvino')
    parser.add_argument('--precision', default='auto', help='auto, fp32, fp16, bf16 or int8')
    parser.add_argument(
        '--size',
        type=height_by_width,
        metavar='HEIGHTxWIDTH',
        help='have the network see so many pixels, in the shape of the image; default: as the '
        'model says',
    )
    parser.add_argument(
        '--validation-fold',
        action='store_true',
        help='score only the images that the model was validated on when it was trained',
    )


def load(args: argparse.Namespace) -> tuple[RoadSegmenter, list[Pair]]:
    """
    Return the model and the images that `add_model_arguments` asked for.

    CheckpointError, EngineError or SourceError (all ValueErrors) say what is wrong.
    """
    pairs = find_pairs(args.data)
    size = InputSize(*args.size) if args.size else None
    segmenter = RoadSegmenter.from_checkpoint(
        args.model, args.device, args.engine, args.precision, size
    )
    if args.validation_fold:
        pairs = _validation_pairs(pairs, segmenter.info)
    return segmenter, pairs


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_arguments(parser)
    parser.add_argument('--json', type=new_file, help='write the scores to this file')
    parser.add_argument('--markdown', type=new_file, help='write the printed tables to this file')
    parser.add_argument('--pictures', type=Path, help='write a picture of every image here')
    parser.add_argument(
        '--plots', type=Path, help='write precision-recall and reliability diagrams here'
    )
    parser.add_argument(
        '--flip',
        action='store_true',
        help='average with the mirrored image; takes twice as long, and the node does not do it',
    )
    return parser


def _validation_pairs(pairs: Sequence[Pair], info: ModelInfo) -> list[Pair]:
    split = split_as_trained(pairs, info)
    if split is None:
        raise SourceError('this model was trained without a validation fold')
    if why := why_scores_flatter(info, *split):
        log.warning('fold %d of %d: %s', info.training['fold'], info.training['folds'], why)
    if not split[1]:
        fold, folds = info.training['fold'], info.training['folds']
        raise SourceError(f'fold {fold} of {folds} of these {len(pairs)} images is empty')
    return split[1]


def _read_calibrations(pairs: Sequence[Pair]) -> dict[str, RoadCalibration] | None:
    missing = [pair.calibration_path for pair in pairs if not pair.calibration_path.is_file()]
    if 0 < len(missing) < len(pairs):
        log.warning(
            "no bird's-eye view: %d of %d images have no calibration, first %s",
            len(missing),
            len(pairs),
            missing[0],
        )
    if missing:
        return None
    return {pair.name: RoadCalibration.read(pair.calibration_path) for pair in pairs}


def _count_birds_eye(
    calibration: RoadCalibration, confidence: np.ndarray, label: np.ndarray
) -> RoadCounts:
    view = BirdsEyeView(calibration, *label.shape)
    counts = RoadCounts()
    counts.add(view.warp(confidence, outside=0), view.warp_label(label))
    return counts


if __name__ == '__main__':
    command.run(main)
