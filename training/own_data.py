"""
Bring your own images and masks into the layout that training and evaluation read.

    python -m training.own_data --images DIR --masks DIR --out DIR [--not-scored 128]

An image `street 7.jpg` and its mask `street 7.png` have the same name but for the ending. A mask
is a grey PNG of 8 bits: 0 is not road, the value of --not-scored is neither trained on nor
counted, everything else is road. OUT becomes a folder for --data; nothing in it is overwritten.
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

from road_seg_ros.image_files import decode_image, list_files, read_image
from road_seg_ros.metrics import NOT_ROAD, NOT_SCORED, ROAD
from training.kitti_road import IMAGE_SUFFIXES, DataError

CATEGORY = 'own'
BGR = {NOT_ROAD: (0, 0, 255), ROAD: (255, 0, 255), NOT_SCORED: (0, 0, 0)}  # KITTI Road's colours


def bring_in(images: Path, masks: Path, out: Path, not_scored: int | None = None) -> int:
    """
    Write OUT/training/image_2 and gt_image_2 and return how many pairs they hold.

    The images are copied as they are and numbered in their names' order (2 before 10), so that
    neighbours in time stay neighbours and fall into the same fold. DataError on an image without
    a mask, a mask of another size or kind, or an OUT that has data already.
    """
    if not_scored is not None and not 1 <= not_scored <= 255:
        raise DataError(f'--not-scored must be in [1, 255], got {not_scored}')
    image_paths, mask_paths = _by_stem(images, IMAGE_SUFFIXES), _by_stem(masks, ('.png',))
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
    for index, stem in enumerate(tqdm(image_paths, unit='image')):
        label = _read_label(mask_paths[stem], not_scored)
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
        if not cv2.imwrite(str(folders[1] / f'{CATEGORY}_road_{index:06d}.png'), colors):
            raise OSError(f'{folders[1]} cannot be written to')


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Return the files of a folder by their name without ending, in the order of their numbers."""
    if not folder.is_dir():
        raise DataError(f'{folder} does not exist')
    by_stem: dict[str, Path] = {}
    for path in list_files(folder, suffixes):
        if path.stem in by_stem:
            raise DataError(f'{by_stem[path.stem]} and {path} have the same name; keep one')
        by_stem[path.stem] = path
    if not by_stem:
        raise DataError(f'{folder} holds no {" or ".join(suffixes)} image')
    return by_stem


def _read_label(path: Path, not_scored: int | None) -> np.ndarray:
    """Return a mask as a label, uint8 (H, W) of NOT_ROAD, ROAD and NOT_SCORED."""
    mask = decode_image(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if mask is None:
        raise DataError(f'{path} cannot be decoded as an image')
    if mask.ndim == 3 and mask.shape[2] == 3 and not np.any(mask != mask[..., :1]):
        mask = mask[..., 0]  # grey, saved as RGB
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise DataError(
            f'{path} has {1 if mask.ndim == 2 else mask.shape[2]} channels of {mask.dtype}; a '
            'mask is a grey PNG of 8 bits, 0 for not road, without colours, palette or alpha'
        )
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
