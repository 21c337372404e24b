"""
Bring your own images and masks into the layout that training and evaluation read.

    python -m training.own_data --images DIR --masks DIR --out DIR [--not-scored 128]
                                [--max-width 1280]

An image `street 7.jpg` and its mask `street 7.png` have the same name but for the ending. A mask
is a grey PNG of 8 bits: 0 is not road, the value of --not-scored is neither trained on nor
counted, everything else is road. Pairs wider than --max-width are shrunk to it. OUT becomes a
folder for --data, and OUT/names.csv says which image has which number there; nothing in it is
overwritten.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from road_seg_ros.arguments import whole_number
from road_seg_ros.image_files import (
    IMAGE_SUFFIXES,
    SourceError,
    is_turned,
    list_files,
    require_image,
    write_image,
)
from road_seg_ros.kitti import write_label
from road_seg_ros.metrics import NOT_ROAD, NOT_SCORED, ROAD
from road_seg_ros.pixels import resize, resize_label
from training import command, config
from training.kitti_road import require_none_bad

CATEGORY = 'own'
PARTS = ('names.csv', 'training')  # of OUT
BYTES_A_PIXEL = 4  # of image and label, as training keeps them
MUCH_GB = 4.0
RECIPE = Path(__file__).parent / 'configs' / 'compact.yaml'


@dataclass
class Summary:
    """What was brought in: the (height, width) of each image, and how many pixels are what."""

    shapes: list[tuple[int, int]] = field(default_factory=list)
    pixels: dict[int, int] = field(default_factory=lambda: {NOT_ROAD: 0, ROAD: 0, NOT_SCORED: 0})

    def add(self, label: np.ndarray) -> None:
        """Count a label, uint8 (H, W)."""
        self.shapes.append(label.shape)
        for value in self.pixels:
            self.pixels[value] += np.count_nonzero(label == value)

    def describe(self) -> str:
        """Return how many images there are, what is in them, and the input size that suits."""
        shares = {value: 100 * n / sum(self.pixels.values()) for value, n in self.pixels.items()}
        typical = np.median(self.shapes, axis=0).round().astype(int).tolist()
        height, width = config.read(RECIPE).input_size.fit(*typical)
        lines = [
            f'{len(self.shapes)} images; of their pixels {shares[ROAD]:.1f} % are road, '
            f'{shares[NOT_ROAD]:.1f} % not road and {shares[NOT_SCORED]:.1f} % not scored',
            f'train with input_height={height} input_width={width}: their shape',
        ]
        decoded_gb = BYTES_A_PIXEL * sum(self.pixels.values()) / 1e9
        if decoded_gb > MUCH_GB:
            lines.append(
                f'training keeps {decoded_gb:.0f} GB of pixels in memory; --max-width 1280 leaves '
                'less, of which the network sees all'
            )
        return '\n'.join(lines)


def bring_in(
    images: Path,
    masks: Path,
    out: Path,
    not_scored: int | None = None,
    max_width: int | None = None,
) -> Summary:
    """
    Write OUT/training/image_2 and gt_image_2, and OUT/names.csv, and return what they hold.

    The images are numbered in their names' order (2 before 10), so that neighbours in time stay
    neighbours and fall into the same fold, and copied as they are; those wider than max_width
    pixels are shrunk, area-averaged, and become PNGs. SourceError on images without
    a mask, masks of another size or kind, a not_scored that no mask has, images that Exif turns,
    or an OUT that has data already.
    """
    if not_scored is not None and not 1 <= not_scored <= 255:
        raise SourceError(f'--not-scored must be in [1, 255], got {not_scored}')
    image_paths, mask_paths = _by_stem(images, IMAGE_SUFFIXES), _by_stem(masks, ('.png',))
    missing = sorted(image_paths.keys() ^ mask_paths.keys())
    if missing:
        raise SourceError(
            f'{len(missing)} names are not both in {images} and in {masks}: '
            f'{", ".join(missing[:5])}'
        )
    for part in PARTS:
        if (out / part).exists():
            raise SourceError(f'{out} has a {part} already; choose another --out')
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as unfinished:
        summary = _write(image_paths, mask_paths, Path(unfinished), not_scored, max_width)
        for part in PARTS:
            (Path(unfinished) / part).rename(out / part)
    return summary


def _write(
    image_paths: Mapping[str, Path],
    mask_paths: Mapping[str, Path],
    out: Path,
    not_scored: int | None,
    max_width: int | None,
) -> Summary:
    folders = [out / 'training' / 'image_2', out / 'training' / 'gt_image_2']
    for folder in folders:
        folder.mkdir(parents=True)
    summary, rows, errors = Summary(), [], []
    values: set[int] = set()
    for index, stem in enumerate(tqdm(image_paths, unit='image')):
        image_path, mask_path = image_paths[stem], mask_paths[stem]
        name = f'{CATEGORY}_{index:06d}'
        rows.append((name, image_path.name, mask_path.name))
        try:
            mask = _read_mask(mask_path)
            label = _label_of(mask, mask_path, not_scored)
            image = _read_image(image_path, label)
        except SourceError as error:
            errors.append(str(error))
            continue
        values.update(np.unique(mask).tolist())
        if max_width is not None and label.shape[1] > max_width:
            image, label = _shrunk(image, label, max_width)
            write_image(folders[0] / f'{name}.png', image)
        else:
            shutil.copyfile(image_path, folders[0] / f'{name}{image_path.suffix.lower()}')
        summary.add(label)
        write_label(folders[1] / f'{CATEGORY}_road_{index:06d}.png', label)
    require_none_bad(errors, len(rows))
    if not_scored is not None and not_scored not in values:
        raise SourceError(
            f'--not-scored {not_scored} is in no mask; they have {_some(sorted(values))}, and all '
            'but 0 would be road'
        )
    # A name may hold bytes that are no UTF-8; they are kept.
    names = {'encoding': 'utf-8', 'errors': 'surrogateescape', 'newline': ''}
    with open(out / 'names.csv', 'w', **names) as file:
        csv.writer(file).writerows([('name', 'image', 'mask'), *rows])
    return summary


def _some(values: list[int]) -> str:
    return ', '.join(map(str, values[:10])) + (', ...' if len(values) > 10 else '')


def _shrunk(image: np.ndarray, label: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    height = max(1, round(label.shape[0] * width / label.shape[1]))
    return resize(image, (height, width)), resize_label(label, (height, width))


def _read_image(path: Path, label: np.ndarray) -> np.ndarray:
    """Return an image. SourceError if it is none, is turned, or not as large as its label."""
    data = np.fromfile(path, np.uint8)
    image = require_image(data, path)
    if is_turned(data):
        raise SourceError(
            f'{path} is turned by its Exif orientation, which a mask has not; store both as they '
            'are shown, without it (`mogrify -auto-orient`)'
        )
    if image.shape[:2] != label.shape:
        raise SourceError(
            f'{path} is {image.shape[1]}x{image.shape[0]} and not as large as its mask, '
            f'{label.shape[1]}x{label.shape[0]}'
        )
    return image


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Return the files of a folder by their name without ending, in the order of their numbers."""
    if not folder.is_dir():
        raise SourceError(f'{folder} is not a folder')
    by_stem: dict[str, Path] = {}
    for path in list_files(folder, suffixes):
        if path.stem in by_stem:
            raise SourceError(f'{by_stem[path.stem]} and {path} have the same name; keep one')
        by_stem[path.stem] = path
    if not by_stem:
        raise SourceError(f'{folder} holds no {" or ".join(suffixes)} image')
    return by_stem


def _read_mask(path: Path) -> np.ndarray:
    """Return a mask, uint8 (H, W)."""
    mask = require_image(np.fromfile(path, np.uint8), path, cv2.IMREAD_UNCHANGED)
    if mask.ndim == 3 and mask.shape[2] == 3 and not np.any(mask != mask[..., :1]):
        mask = mask[..., 0]  # grey, saved as RGB
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise SourceError(
            f'{path} has {1 if mask.ndim == 2 else mask.shape[2]} channels of {mask.dtype}; a '
            'mask is a grey PNG of 8 bits, 0 for not road, without colours, palette or alpha'
        )
    return mask


def _label_of(mask: np.ndarray, path: Path, not_scored: int | None) -> np.ndarray:
    """Return a mask as a label, uint8 (H, W) of NOT_ROAD, ROAD and NOT_SCORED."""
    label = np.where(mask > 0, np.uint8(ROAD), np.uint8(NOT_ROAD))
    if not_scored is not None:
        label[mask == not_scored] = NOT_SCORED
    if np.all(label == NOT_SCORED):
        raise SourceError(f'{path} is {not_scored} everywhere: nothing of it is labelled')
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
    parser.add_argument(
        '--max-width', type=whole_number(32), metavar='PX', help='shrink what is wider to this'
    )
    args = parser.parse_args(arguments)
    try:
        summary = bring_in(args.images, args.masks, args.out, args.not_scored, args.max_width)
    except (SourceError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(f'{args.out}: {summary.describe()}')
    return 0


if __name__ == '__main__':
    command.run(main)
