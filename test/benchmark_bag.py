"""
Measure how fast kitti_to_bag reads images and writes bags, each alone and together.

    .venv/bin/python test/benchmark_bag.py [--frames N] [--folder FOLDER]

Synthetic images of KITTI's size, 1242x375. The bags go to FOLDER, by default the system's
temporary one, so its disk is measured too. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from road_seg_ros import synthetic
from road_seg_ros.bags.camera_bag import CameraBag
from road_seg_ros.kitti import Calibration
from road_seg_ros.kitti_bag import convert
from road_seg_ros.pictures import Choices, Picture, Recording, Shot, open_recording

SCENES = 20
CALIBRATION = Calibration((1.0,) * 9, (0.0,) * 5, (1.0,) * 9, (1.0,) * 12)


def write(images: list[np.ndarray], count: int, out: Path, storage: str) -> None:
    """Write raw images and their camera_info, in this thread."""
    height, width = images[0].shape[:2]
    pictures = [Picture('', width, height, image, '', CALIBRATION) for image in images]
    with CameraBag(out, storage, '/camera/image_raw') as bag:
        for index in range(count):
            bag.write(index * 10**8, pictures[index % len(pictures)])


def read(shots: list[Shot], count: int) -> None:
    """Read images, in this thread."""
    for index in range(count):
        shots[index % len(shots)].read()


def convert_many(shots: list[Shot], count: int, out: Path) -> None:
    """Convert as kitti_to_bag does: reads in threads, writes in one."""
    many = (Shot(index * 10**8, shots[index % len(shots)].read) for index in range(count))
    convert(Recording('', many, count, False, ()), out)


def rate(function: Callable[..., None], count: int, out: Path, *arguments: object) -> str:
    """Return the images a second of a call, and remove what it wrote."""
    started = time.perf_counter()
    function(*arguments)
    duration = time.perf_counter() - started
    shutil.rmtree(out, ignore_errors=True)
    return f'{count / duration:.0f}'


def print_row(*cells: object) -> None:
    """Print one row of a table."""
    print(f'| {" | ".join(map(str, cells))} |', flush=True)


def open_shots(folder: Path, compressed: bool) -> list[Shot]:
    """Return the images of a folder, still to be read."""
    return list(open_recording(folder, Choices(compressed=compressed)).shots)


def peak_memory(folder: Path, count: int, out: Path) -> float:
    """Return the greatest memory, in MiB, of a process that converts `count` images."""
    command = [sys.executable, __file__, '--memory-of', str(folder), str(out), str(count)]
    memory = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    shutil.rmtree(out)
    return memory


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0].strip())
    parser.add_argument('--frames', type=int, default=400)
    parser.add_argument('--folder', type=Path)
    parser.add_argument('--memory-of', nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    count = args.frames
    if args.memory_of:
        folder, out, count = args.memory_of
        convert_many(open_shots(Path(folder), False), int(count), Path(out))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    images = [scene.image for scene in synthetic.drive(0, SCENES)]
    with tempfile.TemporaryDirectory(dir=args.folder) as root:
        out = Path(root) / 'bag'
        print(f'{count} images, {len(os.sched_getaffinity(0))} cores\n')
        print('| raw images written by one thread | a second |\n|---|---|')
        for storage in ('mcap', 'sqlite3'):
            print_row(storage, rate(write, count, out, images, count, out, storage))
        print('\n| files | read by one thread | converted | as JPEG |\n|---|---|---|---|')
        for suffix in ('png', 'webp', 'jpg'):
            folder = Path(root) / suffix
            folder.mkdir()
            for index, image in enumerate(images):
                cv2.imwrite(str(folder / f'{index:06d}.{suffix}'), image)
            raw, jpeg = open_shots(folder, False), open_shots(folder, True)
            print_row(
                suffix,
                rate(read, count, out, raw, count),
                rate(convert_many, count, out, raw, count, out),
                rate(convert_many, count, out, jpeg, count, out),
            )
        print('\n| images | peak memory, MiB |\n|---|---|')
        for images_written in (count, 4 * count):
            memory = peak_memory(Path(root) / 'jpg', images_written, out)
            print_row(images_written, f'{memory:.0f}')


if __name__ == '__main__':
    main()
