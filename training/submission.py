"""
Write what the KITTI road benchmark ranks: the confidence of its test images, seen from above.

    python -m training.submission --model FILE --data KITTI_DIR --out DIR
    cd DIR && zip ../submission.zip *.png

Of every KITTI_DIR/testing/image_2/um_000000.png, with testing/calib/um_000000.txt, DIR gets
um_road_000000.png: 8-bit grey, 800x400 pixels, 255 x the road probability in the bird's-eye view
of `training.birds_eye`, 0 where the image does not show the road plane.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from road_seg_ros.image_files import SourceError, list_images, read_image, write_image
from road_seg_ros.segmenter import RoadSegmenter
from training import command
from training.birds_eye import BirdsEyeView, RoadCalibration


def birds_eye_confidences(
    segmenter: RoadSegmenter, data: Path
) -> Iterator[tuple[str, np.ndarray]]:
    """
    Yield the name and the bird's-eye view, uint8 (800, 400), of every test image.

    data: holds testing/image_2 and testing/calib of KITTI Road. SourceError says what is wrong.
    """
    images = data / 'testing' / 'image_2'
    if not images.is_dir():
        raise SourceError(f'{images} does not exist; it is part of the base kit of KITTI Road')
    paths = list_images(images)
    by_name = {path.stem: path for path in paths}
    if len(by_name) < len(paths):
        twice = next(path for path in paths if by_name[path.stem] != path)
        raise SourceError(f'{twice.stem} is there twice in {images}, with two endings')
    calibrations = {
        name: RoadCalibration.read(data / 'testing' / 'calib' / f'{name}.txt') for name in by_name
    }
    for name, path in tqdm(by_name.items(), unit='image'):
        category, _, number = name.rpartition('_')
        confidence = segmenter(read_image(path)).confidence
        view = BirdsEyeView(calibrations[name], *confidence.shape)
        yield f'{category}_road_{number}.png', view.warp(confidence, outside=0)


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and write the pictures. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', default='', help='model file; default: the one that ships')
    parser.add_argument('--data', type=Path, required=True, help="KITTI Road's folder")
    parser.add_argument('--out', type=Path, required=True, help='folder to write')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    args = parser.parse_args(arguments)
    try:
        if args.data.resolve() in args.out.resolve().parents:
            raise SourceError(f'--out {args.out} is inside of --data {args.data}; choose another')
        segmenter = RoadSegmenter.from_checkpoint(args.model, args.device)
        args.out.mkdir(parents=True, exist_ok=True)
        for name, picture in birds_eye_confidences(segmenter, args.data):
            write_image(args.out / name, picture)
    except (ValueError, OSError) as error:  # CheckpointError, EngineError, SourceError
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    command.run(main)
