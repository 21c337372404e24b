"""
Bring your own images and masks into the layout that training and evaluation read.

    python -m training.own_data --images DIR --masks DIR --out DIR [--not-scored 128]

An image `street 7.jpg` and its mask `street 7.png` have the same name but for the ending. A mask
has one value a pixel: 0 is not road, the value of --not-scored is neither trained on nor counted,
everything else is road. OUT becomes a folder for --data; nothing in it is overwritten.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from road_seg_ros.frames import read_image
from training.kitti_road import IMAGE_SUFFIXES, NOT_ROAD, NOT_SCORED, ROAD, DataError

CATEGORY = 'own'
BGR = {NOT_ROAD: (0, 0, 255), ROAD: (255, 0, 255), NOT_SCORED: (0, 0, 0)}  # KITTI Road's colours


def bring_in(images: Path, masks: Path, out: Path, not_scored: int | None = None) -> int:
    """
    Write OUT/training/image_2 and gt_image_2 and return how many pairs they hold.

    The images are copied as they are and numbered in the order of their names, so that neighbours
    in time stay neighbours and fall into the same fold. DataError on an image without a mask, a
    mask of another size or with several channels that differ, or an OUT that has data already.
    """
    image_paths, mask_paths = _by_stem(images), _by_stem(masks)
    missing = sorted(image_paths.keys() ^ mask_paths.keys())
    if missing:
        raise DataError(
            f'{len(missing)} names are not both in {images} and in {masks}: '
            f'{", ".join(missing[:5])}'
        )
    if (out / 'training').exists():
        raise DataError(f'{out} has a folder training already; choose another --out')
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as unfinished:
        _write(image_paths, mask_paths, Path(unfinished) / 'training', not_scored)
        (Path(unfinished) / 'training').rename(out / 'training')
    return len(image_paths)


def _write(
    image_paths: Mapping[str, Path],
    mask_paths: Mapping[str, Path],
    out: Path,
    not_scored: int | None,
) -> None:
    folders = [out / 'image_2', out / 'gt_image_2']
    for folder in folders:
        folder.mkdir(parents=True)
    for index, stem in enumerate(tqdm(sorted(image_paths), unit='image')):
        label = _label(mask_paths[stem], not_scored)
        image = read_image(image_paths[stem])
        if image is None or image.shape[:2] != label.shape:
            raise DataError(
                f'{image_paths[stem]} cannot be decoded or is not as large as its mask, '
                f'{label.shape[1]}x{label.shape[0]}'
            )
        suffix = image_paths[stem].suffix.lower()
        shutil.copyfile(image_paths[stem], folders[0] / f'{CATEGORY}_{index:06d}{suffix}')
        colors = np.zeros((*label.shape, 3), np.uint8)
        for value, color in BGR.items():
            colors[label == value] = color
        cv2.imwrite(str(folders[1] / f'{CATEGORY}_road_{index:06d}.png'), colors)


def _by_stem(folder: Path) -> Mapping[str, Path]:
    if not folder.is_dir():
        raise DataError(f'{folder} does not exist')
    paths = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES]
    if not paths:
        raise DataError(f'{folder} holds no .png, .jpg or .webp image')
    return {path.stem: path for path in paths}


def _label(path: Path, not_scored: int | None) -> np.ndarray:
    """Return a mask as a label, uint8 (H, W) of NOT_ROAD, ROAD and NOT_SCORED."""
    mask = read_image(path)
    if mask is None:
        raise DataError(f'{path} cannot be decoded as an image')
    if np.any(mask != mask[..., :1]):
        raise DataError(f'{path} is coloured; a mask has one value a pixel, 0 for not road')
    mask = mask[..., 0]
    label = np.where(mask > 0, ROAD, NOT_ROAD).astype(np.uint8)
    if not_scored is not None:
        label[mask == not_scored] = NOT_SCORED
    return label


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and bring the data in. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--images', type=Path, required=True, help='.png, .jpg or .webp files')
    parser.add_argument('--masks', type=Path, required=True, help='a mask for each of them')
    parser.add_argument('--out', type=Path, required=True, help='folder to write')
    parser.add_argument('--not-scored', type=int, help='mask value of what nobody labelled')
    args = parser.parse_args(arguments)
    try:
        count = bring_in(args.images, args.masks, args.out, args.not_scored)
    except (DataError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(f'{args.out}: {count} images')
    return 0


if __name__ == '__main__':
    sys.exit(main())
