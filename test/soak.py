"""
Run the node for minutes while everything round it goes wrong, and print what became of it.

    ./dev soak MINUTES [--seed N]

The node runs the model that ships, a camera sends KITTI-sized images at 10 Hz, and every few
seconds something goes wrong: all of FAULTS in rounds, each round in another order. After each,
images must be answered again within RECOVERY_S. The status is 1 if they are not, if inference
failed, if the node ended, or if its memory grew by more than MOST_GROWTH_MB after the first round.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import psutil
from graph import (
    BEST_EFFORT,
    RELIABLE,
    Client,
    Process,
    camera_process,
    node_process,
    ros,
    wait_for,
)
from lifecycle_msgs.msg import Transition
from malformed import MALFORMED
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool

from road_seg_ros import checkpoint, synthetic
from road_seg_ros.engines import quantization
from road_seg_ros.image_msgs import stamp_ns, to_image
from road_seg_ros.transport import use_profile

RECOVERY_S = 15.0
PAUSE_S = 1.5  # between one fault's recovery and the next fault
MOST_GROWTH_MB = 50.0
DOMAIN = '102'  # tests take 1 to 100
COUNTERS = ('received', 'published', 'dropped', 'rejected', 'errors')


class Soak:
    """The node, a camera and a viewer; every method below `Faults` is one fault."""

    def __init__(self, model: Path, node: Process, client: Client, choose: random.Random) -> None:
        self.model, self.node, self.client, self.choose = model, node, client, choose
        self.camera = ExitStack()
        self.camera_process: Process | None = None
        self.picture = synthetic.render(0, 94, 310).image
        self.latencies_ms: list[float] = []
        self.memory_mb: list[float] = []  # before the first fault, after each happened once
        self.newest_ns = 0
        self.camera_starts = 0
        self.happened: Counter[str] = Counter()
        self.recoveries_s: defaultdict[str, list[float]] = defaultdict(list)
        self.problems: list[str] = []
        client.create_subscription(Image, '/road_seg/mask', self._on_mask, RELIABLE)

    def _on_mask(self, mask: Image) -> None:
        now_ns = self.client.get_clock().now().nanoseconds
        self.newest_ns = stamp_ns(mask)
        if mask.header.frame_id == 'camera':
            self.latencies_ms.append((now_ns - self.newest_ns) / 1e6)

    def run(self, seconds: float) -> None:
        """Let faults happen until the time is up, and each at least once."""
        faults = [getattr(self, name) for name in FAULTS]
        end = time.monotonic() + seconds
        self.memory_mb.append(self.memory_when_settled_mb())
        for index in itertools.count():
            if index == len(faults):
                self.memory_mb.append(self.memory_when_settled_mb())
            if self.problems or (index >= len(faults) and time.monotonic() > end):
                return
            if index % len(faults) == 0:
                self.choose.shuffle(faults)
            fault = faults[index % len(faults)]
            name = fault.__doc__.rstrip('.')
            try:
                fault()
                self.recoveries_s[name].append(self._recovery_s())
            except AssertionError as error:
                self.problems.append(f'after "{name}": {error}')
            if self.node.poll() is not None:
                self.problems.append(f'after "{name}": the node ended, {self.node.returncode}')
            self.happened[name] += 1
            time.sleep(PAUSE_S)

    def _recovery_s(self) -> float:
        """Wait for the answer to an image that is sent from now on."""
        began = time.monotonic()
        now_ns = self.client.get_clock().now().nanoseconds
        wait_for(lambda: self.newest_ns > now_ns, 'an answer', RECOVERY_S)
        return time.monotonic() - began

    def counters(self) -> dict[str, int]:
        """Return what the node has counted."""
        status = self.client.wait_for_status('')
        values = {v.key: v.value for v in status.values}
        return {name: int(values[name]) for name in COUNTERS}

    def memory_when_settled_mb(self) -> float:
        """
        Return the node's resident memory with the model just loaded.

        Later OpenVINO keeps some MB for each size that the network has seen, up to about 100.
        """
        self.reconfiguration()
        self._recovery_s()
        return psutil.Process(self.node.pid).memory_info().rss / 1e6

    def start_camera(self, reliability: str = 'reliable', rate: float = 10.0) -> None:
        """Start the camera, in place of the one that runs."""
        self.camera.close()
        self.camera_starts += 1
        arguments = ('--reliability', reliability, '--rate', f'{rate}')
        self.camera_process = self.camera.enter_context(camera_process(*arguments))

    def _change_state(self, *transitions: int) -> None:
        for transition in transitions:
            assert self.client.change_state(transition)

    # Faults

    def malformed(self) -> None:
        """Twenty malformed images."""
        for _ in range(20):
            self.client.camera.publish(self.choose.choice(MALFORMED).make(self.picture))
            time.sleep(0.02)

    def other_images(self) -> None:
        """Images of other sizes and encodings."""
        for _ in range(10):
            size = self.choose.randint(1, 2000), self.choose.randint(1, 1500)
            pixels = cv2.resize(self.picture, size)
            mono = self.choose.random() < 0.5
            message = to_image(
                pixels[..., 0] if mono else pixels, 'mono8' if mono else 'rgb8', Image().header
            )
            message.header.stamp = self.client.get_clock().now().to_msg()
            self.client.camera.publish(message)
            time.sleep(0.05)

    def camera_restart(self) -> None:
        """Camera killed and started under any policy."""
        self.camera_process.kill()
        self.start_camera(self.choose.choice(('reliable', 'best_effort')))

    def flood(self) -> None:
        """Five seconds at 100 Hz."""
        self.start_camera(rate=100.0)
        time.sleep(5.0)
        self.start_camera()

    def viewers(self) -> None:
        """Viewers of every output come and go ten times."""
        topics = dict.fromkeys(('overlay', 'confidence', 'class_confidence'), Image)
        topics['overlay/compressed'] = CompressedImage
        for index in range(10):
            subscriptions = [
                self.client.create_subscription(
                    kind, f'/road_seg/{topic}', lambda _: None, (RELIABLE, BEST_EFFORT)[index % 2]
                )
                for topic, kind in topics.items()
            ]
            time.sleep(0.2)
            self.client.drop(subscriptions)

    def pause(self) -> None:
        """Paused and resumed."""
        for enabled in (False, True):
            self.client.ask(SetBool, 'enable', SetBool.Request(data=enabled))
            time.sleep(0.5)

    def parameters(self) -> None:
        """Parameters set, some of them wrong."""
        for _ in range(10):
            values = {
                'threshold': self.choose.choice((-1.0, 0.0, 0.5, 1.0, 1.5, -0.1)),
                'overlay_alpha': self.choose.choice((0.0, 0.5, 1.0, 2.0)),
            }
            parameters = [Parameter(k, value=v).to_parameter_msg() for k, v in values.items()]
            request = SetParametersAtomically.Request(parameters=parameters)
            result = self.client.ask(
                SetParametersAtomically, 'set_parameters_atomically', request
            ).result
            good = -0.1 != values['threshold'] <= 1.0 and values['overlay_alpha'] <= 1.0
            assert result.successful == good, (values, result.reason)

    def reactivation(self) -> None:
        """Deactivated and activated."""
        self._change_state(Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE)

    def reconfiguration(self) -> None:
        """Cleaned up and configured again."""
        self._change_state(
            Transition.TRANSITION_DEACTIVATE,
            Transition.TRANSITION_CLEANUP,
            Transition.TRANSITION_CONFIGURE,
            Transition.TRANSITION_ACTIVATE,
        )

    def model_file(self) -> None:
        """Model file cut short, deleted and put back."""
        whole = self.model.read_bytes()
        os.truncate(self.model, 1000)
        time.sleep(0.5)
        self.model.unlink()
        time.sleep(0.5)
        self.model.write_bytes(whole)

    def namesake(self) -> None:
        """Another node of the same name for two seconds."""
        with node_process('-p', 'autostart:=false'):
            time.sleep(2.0)


FAULTS = (
    'malformed', 'other_images', 'camera_restart', 'flood', 'viewers', 'pause', 'parameters',
    'reactivation', 'reconfiguration', 'model_file', 'namesake',
)  # fmt: skip


def main() -> int:
    """Soak the node and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('minutes', type=float)
    parser.add_argument('--seed', type=int, default=0, help='of the order of faults')
    args = parser.parse_args()
    os.environ |= {'ROS_DOMAIN_ID': DOMAIN, 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
    use_profile()
    with tempfile.TemporaryDirectory() as folder, ros(), ExitStack() as stack:
        model = Path(folder) / 'model.safetensors'
        shutil.copy(checkpoint.find(), model)
        shutil.copy(quantization.path_for(checkpoint.find()), quantization.path_for(model))
        log = stack.enter_context(open(Path(folder) / 'log', 'w+'))
        client = Client()
        stack.callback(client.close)
        node = stack.enter_context(node_process('-p', f'model_path:={model}', stdout=log))
        soak = Soak(model, node, client, random.Random(args.seed))
        stack.callback(soak.camera.close)
        soak.start_camera()
        wait_for(lambda: soak.latencies_ms, 'the first mask', 60.0)
        soak.run(60.0 * args.minutes)
        if node.poll() is None:
            report(args, soak)
        if soak.problems:
            log.seek(0)
            print(*log.readlines()[-30:], sep='')
    for problem in soak.problems:
        print(f'FAILED: {problem}', file=sys.stderr)
    return bool(soak.problems)


def report(args: argparse.Namespace, soak: Soak) -> None:
    """Print the tables, and add what they show to be wrong to the problems."""
    counters, memory_mb = soak.counters(), [*soak.memory_mb, soak.memory_when_settled_mb()]
    percentiles = np.percentile(soak.latencies_ms, (50, 95, 99))
    rows: dict[str, object] = {
        'minutes': f'{args.minutes:g} (seed {args.seed})',
        'images received': counters['received'],
        'masks': counters['published'],
        'dropped, overtaken by a newer image': counters['dropped'],
        'rejected, malformed': counters['rejected'],
        'failed inferences': counters['errors'],
        'faults': soak.happened.total(),
        'starts of the camera': soak.camera_starts,
        'memory at start, after one round, at end (MB)': ', '.join(f'{m:.0f}' for m in memory_mb),
        'stamp to mask, median, p95, p99 (ms)': ', '.join(f'{p:.0f}' for p in percentiles),
    }
    print('| | |\n|---|---|')
    for name, value in rows.items():
        print(f'| {name} | {value} |')
    print('\n| fault | times | slowest recovery (s) |\n|---|---|---|')
    for name, times in sorted(soak.happened.items()):
        slowest = max(soak.recoveries_s[name], default=float('nan'))
        print(f'| {name} | {times} | {slowest:.1f} |')
    if counters['errors']:
        soak.problems.append(f'{counters["errors"]} inferences failed')
    if (growth_mb := memory_mb[-1] - memory_mb[-2]) > MOST_GROWTH_MB:
        soak.problems.append(f'memory grew by {growth_mb:.0f} MB')


if __name__ == '__main__':
    sys.exit(main())
