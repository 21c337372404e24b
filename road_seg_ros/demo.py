"""
Drive the node with a recording, over DDS, and keep what comes back.

    python -m road_seg_ros.demo [SOURCE]

Starts road_seg_node, publishes the frames on /camera/image_raw and writes to out/demo:
overlay.mp4, contact_sheet.png, masks/*.png and report.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from road_seg_ros.arguments import positive, split_at_dashes, whole_number
from road_seg_ros.bags.recorder import Recorder, RecorderError
from road_seg_ros.frames import Frame, Frames, SourceError, open_frames, synthetic_frames
from road_seg_ros.graph_names import CAMERA_TOPIC
from road_seg_ros.image_msgs import ImageError, image_to_bgr, stamp_ns, to_image
from road_seg_ros.node_client import RELIABLE, NodeClient
from road_seg_ros.node_process import (
    NodeError,
    Process,
    prepare_environment,
    require_running,
    running_node,
    start_ros,
    wait_for_node,
)
from road_seg_ros.priority import give_way
from road_seg_ros.read_ahead import ReadAhead
from road_seg_ros.stop import interrupt_on_sigterm

SYNTHETIC_FRAMES = 100
LOOK_ROUND_S = 1.0  # for other nodes, before ours starts
BYTES_AHEAD = 128 * 2**20  # 90 frames of KITTI
ANSWER_TIMEOUT_S = 5.0  # for the last masks
# What the node counts of images that no mask answers.
LOST = {
    'dropped': 'overtaken in the node',
    'missed': 'never received',
    'rejected': 'malformed',
    'errors': 'failed',
}


@dataclass
class Report:
    """What was sent and what came back."""

    source: str
    device: str = ''
    model: str = ''
    frames: int = 0
    masks: int = 0
    lost: dict[str, int] = field(default_factory=dict)  # what the node says, by its counters
    latency_ms: list[float] = field(default_factory=list)  # frame published -> mask received

    def rows(self) -> dict[str, str]:
        """Return the table for the terminal."""
        latency = self.latency_ms or [float('nan')]
        why = [f'{count} {LOST[counter]}' for counter, count in self.lost.items() if count]
        return {
            'source': self.source,
            'model': self.model,
            'device': self.device,
            'frames in': str(self.frames),
            'masks out': str(self.masks),
            'dropped': f'{self.frames - self.masks}' + (f' ({", ".join(why)})' if why else ''),
            'latency median': f'{np.percentile(latency, 50):.1f} ms',
            'latency p95': f'{np.percentile(latency, 95):.1f} ms',
        }


class DemoNode(Node):
    """The camera and the viewer."""

    recorder: Recorder  # of the answers; to be set before anything is published

    def __init__(self, report: Report) -> None:
        super().__init__('road_seg_demo')
        self._report = report
        self._sent: dict[int, tuple[str, float]] = {}  # stamp in ns -> name, time published
        self._overlays = 0
        self._camera = self.create_publisher(Image, CAMERA_TOPIC, RELIABLE)
        self.client = NodeClient(self)
        self.client.listen('mask', self._on_mask)
        self.client.listen('overlay', self._on_overlay)

    def publish(self, frame: Frame) -> None:
        """Publish a frame as a camera would, stamped now."""
        now = self.get_clock().now()
        self._sent[now.nanoseconds] = (frame.name, time.monotonic())
        header = Header(stamp=now.to_msg(), frame_id='camera')
        self._camera.publish(to_image(frame.image, 'bgr8', header))
        self._report.frames += 1

    def connected(self) -> bool:
        """Whether the node is active and every topic has found its other end."""
        return self.client.ready() and self._camera.get_subscription_count() > 0

    def answered(self) -> bool:
        """Whether everything that the node took has come back."""
        expected = self._report.frames - self.client.lost
        return min(self._report.masks, self._overlays) >= expected

    def complete_report(self) -> None:
        """Add to the report what the node says of itself."""
        self._report.lost = {counter: self.client.count(counter) for counter in LOST}
        values = self.client.values
        if 'device' in values:  # not once it has unloaded the model
            parts = (values['device'], values['engine'], values['precision'])
            self._report.device = ', '.join(parts)
            self._report.model = values['model']

    def _on_mask(self, message: Image) -> None:
        received = time.monotonic()
        if (sent := self._sent_as(message)) is None:
            return
        name, published = sent
        self._report.masks += 1
        self._report.latency_ms.append(1e3 * (received - published))
        mask = image_to_bgr(message)[..., 0]
        self.recorder.add('mask', name, mask)

    def _on_overlay(self, message: Image) -> None:
        if (sent := self._sent_as(message)) is None:
            return
        self._overlays += 1
        self.recorder.add('overlay', sent[0], image_to_bgr(message).copy())

    def _sent_as(self, message: Image) -> tuple[str, float] | None:
        return self._sent.get(stamp_ns(message))


def run(frames: Frames, out: Path, rate: float, node_arguments: list[str]) -> Report:
    """
    Send the frames through the node at `rate` Hz and write what comes back to `out`.

    node_arguments: more arguments for road_seg_node. SourceError or NodeError says what is wrong.
    """
    prepare_environment()
    report = Report(frames.description)
    with contextlib.ExitStack() as stack:
        ready = ReadAhead(_giving_way(frames), BYTES_AHEAD, lambda frame: frame.image.nbytes)
        stack.callback(ready.close)
        start_ros()
        stack.callback(rclpy.try_shutdown)
        demo = DemoNode(report)
        stack.callback(demo.destroy_node)
        deadline = time.monotonic() + LOOK_ROUND_S
        while time.monotonic() < deadline:  # another node would look like ours
            rclpy.spin_once(demo, timeout_sec=0.1)
            demo.client.refuse_company(CAMERA_TOPIC, expected=0)
        process = stack.enter_context(running_node(node_arguments))
        wait_for_node(demo, demo.connected, lambda: demo.client.status, process)
        # Only now: it replaces a recording.
        demo.recorder = stack.enter_context(contextlib.closing(Recorder(out, rate)))
        _play(demo, ready, rate, process)
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        while not demo.answered() and time.monotonic() < deadline:
            rclpy.spin_once(demo, timeout_sec=0.1)
            require_running(process)
        demo.complete_report()
    report_json = {**report.rows(), 'latency_ms': report.latency_ms}
    (out / 'report.json').write_text(json.dumps(report_json, indent=1), encoding='utf-8')
    return report


def _giving_way(frames: Frames) -> Iterator[Frame]:
    """Render or decode without taking the node's cores, which would count as its latency."""
    give_way()
    yield from frames.frames


def _play(demo: DemoNode, frames: Iterable[Frame], rate: float, process: Process) -> None:
    start = time.monotonic()
    for count, frame in enumerate(frames):
        due = start + count / rate
        while (left := due - time.monotonic()) > 0:
            rclpy.spin_once(demo, timeout_sec=min(left, 0.1))  # an interrupt waits for it
        require_running(process)
        demo.client.refuse_company(CAMERA_TOPIC)  # each time: discovery may take seconds
        demo.publish(frame)
        if sys.stdout.isatty():
            print(f'\r{count + 1} frames', end='', flush=True)
    if sys.stdout.isatty():
        print()


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and run the demo. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog='road_seg_demo',
        description=__doc__.split('\n\n')[0].strip(),
        epilog='What follows -- goes to the node as ROS arguments: -- -p device:=cpu',
    )
    parser.add_argument(
        'source',
        nargs='?',
        help='folder of images, video, KITTI Road or raw folder, or rosbag2; '
        'a synthetic drive if left out',
    )
    parser.add_argument('--out', type=Path, default=Path('out/demo'), help='default: out/demo')
    parser.add_argument('--rate', type=positive, default=10.0, help='frames a second, default 10')
    parser.add_argument(
        '--frames', type=whole_number(1), default=SYNTHETIC_FRAMES, help='of the synthetic drive'
    )
    parser.add_argument('--seed', type=int, default=0, help='of the synthetic drive')
    own, node_arguments = split_at_dashes(sys.argv[1:] if arguments is None else arguments)
    args = parser.parse_args(own)
    interrupt_on_sigterm()
    try:
        if args.source:
            if args.out.resolve() in Path(args.source).resolve().parents:
                raise SourceError(f'{args.source} is inside of --out {args.out}; choose another')
            frames = open_frames(args.source)
        else:
            frames = synthetic_frames(args.frames, args.seed)
        print(f'Source: {frames.description}', flush=True)
        report = run(frames, args.out, args.rate, node_arguments)
    except (SourceError, NodeError, ImageError, RecorderError, OSError, MemoryError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    rows = report.rows()
    width = max(map(len, rows))
    print('\n' + '\n'.join(f'{name:<{width}}  {value}' for name, value in rows.items()))
    print(f'\n{args.out}/overlay.mp4, {args.out}/contact_sheet.png, {args.out}/masks/')
    if not report.masks:
        print('error: no mask came back', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
