"""
Stands in for the program `ros2 bag play`, which cannot be installed everywhere.

As rosbag2's player it opens its publishers and publishes the time while it is paused, and plays on
when it is told to, to whoever listens. It knows the options of the one in Humble, and as that one
plays a recorded /clock beside its own.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import threading
import time
from pathlib import Path

import rclpy
from builtin_interfaces.msg import Time
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rosgraph_msgs.msg import Clock
from std_srvs.srv import Empty

from road_seg_ros.bags.qos import read_overrides, recorded_profile
from road_seg_ros.bags.reading import Bag

NS = 1_000_000_000
# What the launch file finds installed where rosbag2 is. Resume is as empty as Empty.
PACKAGES = {
    'ros2bag/__init__.py': '',
    'rosbag2_interfaces/__init__.py': '',
    'rosbag2_interfaces/srv.py': 'from std_srvs.srv import Empty as Resume\n',
}


def install(folder: Path, environment: dict[str, str]) -> dict[str, str]:
    """Return the environment with this as `ros2 bag play`; folder: where to put it."""
    for name, text in PACKAGES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    program = folder / 'ros2'
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).resolve()} "$@"\n')
    program.chmod(0o755)
    python_path = f'{folder}:{environment.get("PYTHONPATH", "")}'
    return {**environment, 'PATH': f'{folder}:{environment["PATH"]}', 'PYTHONPATH': python_path}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('bag', choices=['bag'])
    parser.add_argument('play', choices=['play'])
    parser.add_argument('path')
    parser.add_argument('--rate', type=float, default=1.0)
    parser.add_argument('--loop', action='store_true')
    parser.add_argument('--clock', type=float, nargs='?', const=40, default=0)
    parser.add_argument('--start-offset', type=float, default=0.0)
    parser.add_argument('--start-paused', action='store_true')
    parser.add_argument('--disable-keyboard-controls', action='store_true')
    parser.add_argument('--wait-for-all-acked', type=int, default=-1)
    parser.add_argument('--qos-profile-overrides-path')
    parser.add_argument('--topics', nargs='+')
    args = parser.parse_args()

    rclpy.init(args=[])
    node = rclpy.create_node('rosbag2_player')
    resumed = threading.Event()

    def resume(_: Empty.Request, response: Empty.Response) -> Empty.Response:
        resumed.set()
        return response

    node.create_service(Empty, '~/resume', resume)
    with Bag(args.path) as bag:
        begin_ns = bag.start_ns + round(args.start_offset * NS)
        overrides = read_overrides(args.qos_profile_overrides_path)
        topics = [t for t in bag.topics if args.topics is None or t.name in args.topics]
        publishers = {}
        for topic in topics:
            package, _, name = topic.type.split('/')
            kind = getattr(importlib.import_module(f'{package}.msg'), name)
            qos = overrides.get(topic.name) or recorded_profile(topic)
            publishers[topic] = node.create_publisher(kind, topic.name, qos)
        clock = node.create_publisher(Clock, '/clock', 1)
        started = None

        def tick() -> None:
            passed_s = 0.0 if started is None else time.monotonic() - started
            time_ns = begin_ns + round(passed_s * args.rate * NS)
            clock.publish(Clock(clock=Time(sec=time_ns // NS, nanosec=time_ns % NS)))

        node.create_timer(1 / args.clock, tick)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        spinner = threading.Thread(target=executor.spin, daemon=True)
        spinner.start()
        while args.start_paused and not resumed.wait(0.1):
            if not rclpy.ok():  # told to end
                return
        started = time.monotonic()
        print(f'playing {args.path}: {", ".join(map(str, topics))}')
        for topic, time_ns, data in bag.messages(topics, begin_ns):
            due = started + (time_ns - begin_ns) / NS / args.rate
            time.sleep(max(0.0, due - time.monotonic()))
            publishers[topic].publish(data)
    for publisher in publishers.values():
        publisher.wait_for_all_acked(Duration(seconds=args.wait_for_all_acked / 1000))
    executor.shutdown()
    spinner.join()
    rclpy.try_shutdown()


if __name__ == '__main__':
    main()
