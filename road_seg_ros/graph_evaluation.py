"""
Score what a running node publishes, by the rules of the KITTI road benchmark.

    road_seg_evaluate BAG [--json FILE] [-- -p device:=cpu]

Sends the images of a bag that has ground truth through road_seg_node and scores what comes back:
~/confidence for MaxF and average precision, ~/mask for the IoU. One image at a time, unless --rate
asks for the pace of the recording.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from road_seg_ros.arguments import full_node_name, new_file, positive, split_at_dashes
from road_seg_ros.bags.labelled_images import Labelled, LabelledImages
from road_seg_ros.bags.reading import GROUND_TRUTH_TOPIC, Bag, BagError
from road_seg_ros.graph_names import CAMERA_TOPIC, COMPRESSED_IMAGE, IMAGE, NODE
from road_seg_ros.image_msgs import ImageError, image_to_bgr, stamp_ns
from road_seg_ros.markdown import table
from road_seg_ros.metrics import LEVELS, RoadCounts
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
from road_seg_ros.read_ahead import ReadAhead
from road_seg_ros.stop import interrupt_on_sigterm

TYPES = {IMAGE: Image, COMPRESSED_IMAGE: CompressedImage}
AHEAD = 20  # images
ANSWER_TIMEOUT_S = 10.0
SETTLING_S = 0.5  # for the node to find those who listen
COLUMNS = ('max_f', 'avg_precision', 'precision', 'recall', 'threshold', 'iou')


class EvaluationError(ValueError):
    """A bag that cannot be scored; names it and says why."""


@dataclass
class Result:
    """What was sent and what came back."""

    images: int = 0
    unlabelled: int = 0
    scored: int = 0
    masks: int = 0
    dropped: int = 0  # by the node
    rejected: int = 0
    errors: int = 0
    node: dict[str, str] = field(default_factory=dict)  # its diagnostics
    confidence: RoadCounts = field(default_factory=RoadCounts)
    mask: RoadCounts = field(default_factory=RoadCounts)
    latency_ms: list[float] = field(default_factory=list)  # image published -> mask received

    def scores(self) -> dict[str, float]:
        """
        Return the benchmark's scores of the confidence, and the IoU of the mask.

        Percentages are 0..100; see `RoadCounts.scores`. EvaluationError if nothing came back.
        """
        if not self.scored:
            raise EvaluationError('the node answered none of the images; nothing to score')
        try:
            scores = self.confidence.scores()
        except ValueError as error:
            raise EvaluationError(f'the ground truth cannot be scored: {error}') from error
        return {**scores, 'iou': 100 * float(self.mask.curves().iou[LEVELS - 1])}

    def report(self) -> dict[str, Any]:
        """Return everything as JSON can have it."""
        scores = self.scores()
        median, p95 = np.percentile(self.latency_ms, (50, 95))
        unanswered = self.images - self.masks
        return {
            'perspective': {'all': scores},
            'images': self.images,
            'scored': self.scored,
            'unlabelled': self.unlabelled,
            'unanswered': unanswered,
            'dropped': self.dropped,
            'rejected': self.rejected,
            'errors': self.errors,
            # Its subscription holds one image: while it is busy, others are gone uncounted.
            'unseen': max(0, unanswered - self.dropped - self.rejected - self.errors),
            'latency_ms': {'median': float(median), 'p95': float(p95)},
            'node': {
                key: self.node.get(key, '')
                for key in ('model', 'threshold', 'device', 'engine', 'precision')
            },
        }


@dataclass
class Question:
    """An image that was sent, and what has come back of it so far."""

    label: np.ndarray
    published: float  # s, monotonic
    mask: np.ndarray | None = None
    confidence: np.ndarray | None = None


class Examiner(Node):
    """Publishes labelled images and scores the answers."""

    def __init__(self, name: str, camera_topic: str, image_type: str, result: Result) -> None:
        super().__init__('road_seg_evaluate')
        self._result = result
        self._camera_topic = camera_topic
        self._open: dict[int, Question] = {}  # by stamp, in the order in which they were sent
        self._passed_over = 0  # by an answer to a later one
        self._settled = 0  # how many the node had lost when the last ones were given up
        self.problem: Exception | None = None  # of an answer
        self._camera = self.create_publisher(TYPES[image_type], camera_topic, RELIABLE)
        self.client = NodeClient(self, name)
        self.client.listen('mask', self._on_mask)
        self.client.listen('confidence', self._on_confidence)

    def connected(self) -> bool:
        """Whether the node is active and every topic has found its other end."""
        return self.client.ready() and self._camera.get_subscription_count() > 0

    def publish(self, labelled: Labelled) -> None:
        """Publish an image as it was recorded."""
        self.client.refuse_company(self._camera_topic)  # each time: discovery may take seconds
        self._open[labelled.stamp_ns] = Question(labelled.label, time.monotonic())
        self._camera.publish(labelled.image)
        self._result.images += 1

    def answered(self) -> bool:
        """Whether the node has dealt with everything that it was sent."""
        lost = self.client.lost - self._settled
        return not self._open or len(self._open) + self._passed_over <= lost

    def give_up(self) -> None:
        """Wait no longer for what has not been answered."""
        self._open.clear()
        self._passed_over = 0
        self._settled = self.client.lost

    def _on_mask(self, message: Image) -> None:
        received = time.monotonic()
        if (question := self._open.get(stamp_ns(message))) is not None:
            question.mask = image_to_bgr(message)[..., 0]
            self._result.masks += 1
            self._result.latency_ms.append(1e3 * (received - question.published))
            self._score(stamp_ns(message), question)

    def _on_confidence(self, message: Image) -> None:
        if (question := self._open.get(stamp_ns(message))) is not None:
            question.confidence = image_to_bgr(message)[..., 0]
            self._score(stamp_ns(message), question)

    def _score(self, stamp: int, question: Question) -> None:
        if question.mask is None or question.confidence is None:
            return
        try:
            self._result.confidence.add(question.confidence, question.label)
            self._result.mask.add(question.mask, question.label)
        except ValueError as error:  # another size; raised where rclpy prints no traceback
            self.problem = error
        self._result.scored += 1
        while (first := next(iter(self._open))) != stamp:
            del self._open[first]  # the node answers in order
            self._passed_over += 1
        del self._open[stamp]


def evaluate(
    bag: Bag,
    rate: float | None = None,
    topic: str = '',
    truth_topic: str = GROUND_TRUTH_TOPIC,
    attach: str | None = None,
    camera_topic: str = '',
    node_arguments: list[str] | None = None,
) -> Result:
    """
    Send the labelled images of a bag through a road_seg_node.

    rate: of the recording's pace; None to send each image once the last is answered. topic: of the
    images, the one with most of them if empty. attach: name of a node that runs already; None to
    start one, with node_arguments. camera_topic: where the attached one listens. BagError,
    EvaluationError or NodeError says what is wrong.
    """
    labelled_images = LabelledImages(bag, topic, truth_topic)
    image_type = labelled_images.topic.type
    transport = 'raw' if image_type == IMAGE else 'compressed'
    # A node of its own gets a namespace of its own: whoever else is there is not disturbed.
    namespace = '' if attach else f'/road_seg_evaluate_{os.getpid()}'
    arguments = ['-r', f'__ns:={namespace}', '-p', f'input_transport:={transport}']
    if not camera_topic:
        camera_topic = namespace + CAMERA_TOPIC + ('/compressed' * (transport == 'compressed'))
    result = Result()
    prepare_environment(only_here=not attach)
    with contextlib.ExitStack() as stack:
        pairs = ReadAhead(iter(labelled_images), AHEAD)
        stack.callback(pairs.close)
        process = None
        if not attach:
            process = stack.enter_context(running_node([*arguments, *(node_arguments or [])]))
        start_ros()
        stack.callback(rclpy.try_shutdown)
        examiner = Examiner(attach or namespace + NODE, camera_topic, image_type, result)
        stack.callback(examiner.destroy_node)
        wait_for_node(examiner, examiner.connected, lambda: examiner.client.status, process)
        _spin_until(examiner, process, time.monotonic() + SETTLING_S)
        begin, first_ns = time.monotonic(), None
        for count, labelled in enumerate(pairs):
            if rate is not None:
                first_ns = labelled.time_ns if first_ns is None else first_ns
                due = begin + (labelled.time_ns - first_ns) / 1e9 / rate
                _spin_until(examiner, process, due)
            examiner.publish(labelled)
            if rate is None:
                _await_answers(examiner, process)
                examiner.give_up()
            if sys.stderr.isatty():
                print(f'\r{count + 1} images', end='', file=sys.stderr, flush=True)
        if sys.stderr.isatty():
            print(file=sys.stderr)
        _await_answers(examiner, process)
        _await_diagnostics(examiner, process)
        client = examiner.client
        result.dropped, result.rejected = client.count('dropped'), client.count('rejected')
        result.errors, result.node = client.count('errors'), client.values
        result.unlabelled = labelled_images.unlabelled
    return result


def as_markdown(report: dict[str, Any]) -> str:
    """Return a report as Markdown: the scores, and how the node kept up."""
    scores = report['perspective']['all']
    cells = [f'{scores[name]:.{3 if name == "threshold" else 2}f}' for name in COLUMNS]
    node, latency = report['node'], report['latency_ms']
    return '\n'.join(
        [
            table(('category', *COLUMNS), [('all', *cells)]),
            '',
            'Percentages, but for the threshold, the one with the best F1, at which precision and '
            'recall are; iou is that of the masks, at the threshold of the node, '
            f'{node["threshold"]}.',
            '',
            f'Model: {node["model"]}; {node["engine"]} {node["precision"]} on {node["device"]}.',
            f'Images: {report["images"]} sent, {report["scored"]} scored, {report["unanswered"]} '
            f'without a mask ({report["dropped"]} dropped and {report["rejected"]} rejected by '
            f'the node, {report["errors"]} at which it failed, {report["unseen"]} overtaken '
            f'before it saw them); {report["unlabelled"]} without ground truth were not sent.',
            f'Latency, image published to mask received: median {latency["median"]:.1f} ms, p95 '
            f'{latency["p95"]:.1f} ms.',
        ]
    )


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, score and report. Returns the exit status."""
    own, node_arguments = split_at_dashes(sys.argv[1:] if arguments is None else arguments)
    parser = _parser()
    args = parser.parse_args(own)
    if args.attach and node_arguments:
        parser.error('arguments after -- are for the node that is started, --attach starts none')
    if args.camera_topic and not args.attach:
        parser.error('--camera-topic is of the node of --attach; one started here has its own')
    interrupt_on_sigterm()
    try:
        with Bag(args.bag) as bag:
            result = evaluate(
                bag, args.rate, args.topic, args.truth_topic, args.attach, args.camera_topic,
                node_arguments,
            )  # fmt: skip
        report = result.report()
        print(as_markdown(report))
        if args.json:
            args.json.write_text(json.dumps(report, indent=2), encoding='utf-8')
    except (BagError, EvaluationError, ImageError, NodeError, OSError, MemoryError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='road_seg_evaluate',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='What follows -- goes to the node as ROS arguments: -- -p device:=cpu',
    )
    parser.add_argument('bag', help='rosbag2 folder, or one of its .mcap or .db3 files')
    parser.add_argument(
        '--rate',
        type=positive,
        help='send the images at this multiple of the pace of the recording, as a camera would; '
        'without, each is sent once the one before is answered',
    )
    parser.add_argument('--json', type=new_file, help='write the report to this file')
    parser.add_argument(
        '--topic', default='', help='of the images in the bag; default: the one with most of them'
    )
    parser.add_argument(
        '--truth-topic',
        default=GROUND_TRUTH_TOPIC,
        help=f'of the ground truth, default {GROUND_TRUTH_TOPIC}',
    )
    parser.add_argument(
        '--attach',
        nargs='?',
        const=NODE,
        type=full_node_name,
        metavar='NODE',
        help=f'use a node that runs already, {NODE} unless named, instead of starting one',
    )
    parser.add_argument(
        '--camera-topic',
        default='',
        help=f'where the node of --attach listens, default {CAMERA_TOPIC}',
    )
    return parser


def _await_answers(examiner: Examiner, process: Process | None) -> None:
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    while not examiner.answered() and time.monotonic() < deadline:
        _spin_until(examiner, process, time.monotonic())


def _await_diagnostics(examiner: Examiner, process: Process | None) -> None:
    """Wait for counters that are newer than the last answer: the next may have been on its way."""
    newer, deadline = examiner.client.heard + 2, time.monotonic() + ANSWER_TIMEOUT_S
    while examiner.client.heard < newer and time.monotonic() < deadline:
        _spin_until(examiner, process, time.monotonic())


def _spin_until(examiner: Examiner, process: Process | None, moment: float) -> None:
    """Take what comes back until a moment of the monotonic clock, at least once."""
    while True:
        left = moment - time.monotonic()
        rclpy.spin_once(examiner, timeout_sec=min(0.1, max(left, 0.01)))
        if examiner.problem is not None:
            raise EvaluationError(f'an answer cannot be scored: {examiner.problem}')
        if process is not None:
            require_running(process)
        if examiner.client.stopped:
            raise NodeError(f'{examiner.client.name} has stopped: {examiner.client.status}')
        if left <= 0:
            return


if __name__ == '__main__':
    sys.exit(main())
