"""
Turn a KITTI recording, a folder of images or a video into a rosbag2.

    kitti_to_bag 2011_09_26/2011_09_26_drive_0001_sync kitti_bag
    ros2 launch road_seg_ros seg.launch.py bag:=kitti_bag rviz:=true

Images are decoded in threads and written in order, so memory does not grow with the recording.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from road_seg_ros.bags.whole_folder import OutputError, whole_folder
from road_seg_ros.graph_names import CAMERA_TOPIC
from road_seg_ros.image_files import SourceError
from road_seg_ros.pictures import Choices, Picture, Recording, Shot, open_recording
from road_seg_ros.stop import interrupt_on_sigterm

RATES_HZ = (0.001, 1000.0)
MAX_THREADS = 8  # one thread writes, which more would outrun
PROGRESS_S = 0.2


class UsageError(ValueError):
    """An option with a value that it cannot have."""


def convert(
    recording: Recording,
    out: Path,
    *,
    storage: str = 'mcap',
    topic: str = CAMERA_TOPIC,
    force: bool = False,
    progress: Callable[[int], None] = lambda count: None,
) -> dict[str, int]:
    """
    Write a recording to a rosbag2 folder, which appears when it is complete.

    storage: mcap or sqlite3. topic: of raw images; compressed ones go to `topic`/compressed.
    force: replace a bag. progress: called with the number of images so far. Returns the number of
    messages of each topic. SourceError or OutputError says what went wrong; then nothing is left.
    """
    from road_seg_ros.bags.camera_bag import CameraBag, is_bag_folder  # needs rosbags, an extra

    first: Picture | None = None
    with (
        whole_folder(out, is_bag_folder if force else None) as folder,
        CameraBag(folder, storage, topic) as bag,
        contextlib.closing(_read_ahead(recording.shots)) as pictures,
    ):
        for count, (stamp_ns, picture) in enumerate(pictures, start=1):
            first = first or picture
            if not recording.sizes_differ:
                _require_same_size(picture, first)
            bag.write(stamp_ns, picture)
            progress(count)
    return bag.counts


def _read_ahead(shots: Iterable[Shot]) -> Iterator[tuple[int, Picture]]:
    """Read pictures in threads; yield them in order with their stamps."""
    threads = min(len(os.sched_getaffinity(0)), MAX_THREADS)
    waiting: deque[tuple[int, Future[Picture]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for shot in shots:
                waiting.append((shot.stamp_ns, pool.submit(shot.read)))
                if len(waiting) > 2 * threads:
                    stamp_ns, picture = waiting.popleft()
                    yield stamp_ns, picture.result()
            for stamp_ns, picture in waiting:
                yield stamp_ns, picture.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _require_same_size(picture: Picture, first: Picture) -> None:
    if (picture.width, picture.height) != (first.width, first.height):
        raise SourceError(
            f'{picture.name} is {picture.width}x{picture.height}, the images before it '
            f'{first.width}x{first.height}; --mixed-sizes allows that'
        )


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and write the bag. Returns the exit status."""
    args = _parser().parse_args(arguments)
    interrupt_on_sigterm()  # as Ctrl-C: nothing is left
    started = time.monotonic()
    try:
        choices = _check(args)
        recording = open_recording(args.source, choices)
        print(recording.description, flush=True)
        for note in recording.notes:
            print(f'note: {note}', file=sys.stderr)
        with _progress_line(recording.count) as progress:
            counts = convert(
                recording,
                args.out,
                storage=args.format,
                topic=args.topic,
                force=args.force,
                progress=progress,
            )
    except (SourceError, OutputError, UsageError, OSError, MemoryError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('interrupted; nothing was written', file=sys.stderr)
        return 130
    width = max(map(len, counts))
    print('\n'.join(f'{topic:<{width}}  {count} messages' for topic, count in counts.items()))
    size = sum(file.stat().st_size for file in args.out.iterdir())
    print(f'{args.out}: {args.format}, {size / 1e6:.1f} MB, {time.monotonic() - started:.1f} s')
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='kitti_to_bag', description=__doc__.split('\n\n')[0].strip()
    )
    parser.add_argument(
        'source',
        metavar='SOURCE',
        help='KITTI raw drive, odometry sequence or Road folder, folder of images, or video',
    )
    parser.add_argument('out', metavar='OUT', type=Path, help='rosbag2 folder to make')
    parser.add_argument('--format', choices=('mcap', 'sqlite3'), default='mcap')
    parser.add_argument(
        '--rate', metavar='HZ', help='images a second, instead of the recorded times'
    )
    parser.add_argument(
        '--topic', default=CAMERA_TOPIC, help=f'of the images, default {CAMERA_TOPIC}'
    )
    parser.add_argument(
        '--compressed',
        action='store_true',
        help='JPEG, on TOPIC/compressed; a JPEG is passed through unless Exif has it turned',
    )
    parser.add_argument('--quality', default='90', help='of JPEG, 1 to 100, default 90')
    parser.add_argument(
        '--camera',
        type=int,
        choices=range(4),
        help='of KITTI: 0, 1 grey, 2, 3 colour, left and right; default 2 if it is there',
    )
    parser.add_argument(
        '--calibration',
        metavar='FILE',
        type=Path,
        help="KITTI calibration file for camera_info, instead of the source's own",
    )
    parser.add_argument('--no-camera-info', action='store_true', help='leave camera_info out')
    parser.add_argument(
        '--no-ground-truth', action='store_true', help="leave KITTI Road's labels out"
    )
    parser.add_argument(
        '--mixed-sizes', action='store_true', help='allow images of different sizes'
    )
    parser.add_argument('--force', action='store_true', help='replace OUT if it is a rosbag2')
    return parser


def _check(args: argparse.Namespace) -> Choices:
    """Return the choices of a command line. UsageError or SourceError names a bad one."""
    try:
        from road_seg_ros.bags.camera_bag import broken_topic_rule
    except ImportError as error:
        raise UsageError(
            f'kitti_to_bag needs the package rosbags ({error}): pip install "rosbags>=0.11.2"'
        ) from error
    if problem := broken_topic_rule(args.topic):
        raise UsageError(f'--topic must not be {args.topic!r}: {problem}')
    if args.calibration and args.no_camera_info:
        raise UsageError('--calibration and --no-camera-info exclude each other')
    rate = None
    if args.rate is not None:
        rate = _number('--rate', args.rate)
        if not RATES_HZ[0] <= rate <= RATES_HZ[1]:
            raise UsageError(f'--rate must be from 0.001 to 1000 Hz, got {args.rate}')
    quality = _number('--quality', args.quality)
    if quality not in range(1, 101):
        raise UsageError(f'--quality must be a whole number from 1 to 100, got {args.quality}')
    return Choices(
        rate=rate,
        camera=args.camera,
        calibration=args.calibration,
        camera_info=not args.no_camera_info,
        ground_truth=not args.no_ground_truth,
        compressed=args.compressed,
        quality=int(quality),
        mixed_sizes=args.mixed_sizes,
    )


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f'{name} must be a number, got {text!r}') from None


@contextlib.contextmanager
def _progress_line(total: int | None) -> Iterator[Callable[[int], None]]:
    """Yield what shows the number of images so far on a terminal."""
    started = shown = time.monotonic()

    def show(count: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown >= PROGRESS_S or count == total:
            shown = now
            of = f' of {total} ({100 * count // total} %)' if total else ''
            rate = count / (now - started)
            print(
                f'\r{count}{of} images, {rate:.0f} a second ', end='', file=sys.stderr, flush=True
            )

    if not sys.stderr.isatty():
        yield lambda count: None
        return
    try:
        yield show
    finally:
        print(file=sys.stderr)


if __name__ == '__main__':
    sys.exit(main())
