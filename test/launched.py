"""Run a launch file as `ros2 launch` does, with this package as if it were installed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from launch.launch_description_sources import PythonLaunchDescriptionSource

import launch
from road_seg_ros.launching import nodes
from road_seg_ros.launching.arguments import REPLAY, SEG

LAUNCH_FILES = Path(__file__).resolve().parent.parent / 'launch'
BUSY_S = 120.0  # in which whatever is launched has started, or failed, on a busy machine
PROGRAMS = {'road_seg_node': 'road_seg_ros.main', 'road_seg_replay': 'road_seg_ros.replay'}
# What `ros2 launch FILE NAME:=VALUE ...` does.
RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
arguments = [tuple(a.split(':=', 1)) for a in sys.argv[2:]]
source = PythonLaunchDescriptionSource(sys.argv[1])
include = IncludeLaunchDescription(source, launch_arguments=arguments)
service = LaunchService()
service.include_launch_description(LaunchDescription([include]))
sys.exit(service.run())
"""


def installed(prefix: Path, *others: str) -> dict[str, str]:
    """Return an environment in which the package, and others, count as installed in a prefix."""
    index = prefix / 'share/ament_index/resource_index/packages'
    programs = prefix / 'lib/road_seg_ros'
    index.mkdir(parents=True)
    programs.mkdir(parents=True)
    for package in ('road_seg_ros', *others):
        (index / package).touch()
    for name, module in PROGRAMS.items():
        text = f'#!{sys.executable}\nimport sys\nfrom {module} import main\nsys.exit(main())\n'
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    paths = [str(prefix), os.environ.get('AMENT_PREFIX_PATH', ''), sys.prefix]
    return {**os.environ, 'AMENT_PREFIX_PATH': ':'.join(filter(None, paths))}


@contextmanager
def launched(
    file: str, environment: Mapping[str, str], *arguments: str
) -> Iterator[subprocess.Popen[str]]:
    """Launch a file of the package; it is told to end after the block if it still runs then."""
    process = subprocess.Popen(
        [sys.executable, '-c', RUN, str(LAUNCH_FILES / file), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=LAUNCH_FILES.parent,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def description(file: str) -> launch.LaunchDescription:
    """Return what a launch file of the package describes."""
    source = PythonLaunchDescriptionSource(str(LAUNCH_FILES / file))
    return source.get_launch_description(launch.LaunchContext())


def actions_of(file: str, **arguments: str) -> tuple[launch.LaunchContext, list]:
    """Return what a launch file would start, and the context of it."""
    context = launch.LaunchContext()
    context.launch_configurations.update(arguments)
    for argument in description(file).get_launch_arguments():
        argument.visit(context)
    return context, nodes.start(context, {'seg.launch.py': SEG, 'replay.launch.py': REPLAY}[file])
