"""
From the start of a process to its first mask, and the memory that it then has.

    python -m road_seg_ros.benchmark.startup STARTED MODEL

is the process: STARTED is when it was started (s since 1970) and MODEL a JSON object with path,
device, size, engine and precision. It prints what it found as JSON.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from statistics import median

import numpy as np

from road_seg_ros.benchmark import machine
from road_seg_ros.benchmark.samples import Choice, Model

IMAGE_SHAPE = (375, 1242, 3)
IMAGES_UNTIL_STEADY = 30  # after which memory is measured
TIMEOUT_S = 300.0


class StartupError(RuntimeError):
    """A process that did not get as far as its first mask; says what it said."""


@dataclass(frozen=True)
class Startup:
    """
    How a process with one engine starts.

    stages_s: python (the interpreter), libraries (torch, openvino), model (read, and compiled or
    taken from the cache), first mask; resident_mb, peak_mb: its memory after some images, and the
    most it ever had; gpu_mb: of a GPU, with everything that CUDA needs, None on the CPU.
    """

    stages_s: dict[str, float]
    resident_mb: float
    peak_mb: float
    gpu_mb: float | None

    @property
    def total_s(self) -> float:
        """From the start of the process to the first mask."""
        return sum(self.stages_s.values())


def measure(model: Model, choice: Choice, times: int) -> Startup:
    """
    Start a process `times` times and return what is typical: the median of each figure.

    The first start, which brings files into memory and fills caches, is one more and not counted.
    """
    found = [_start(model, choice) for _ in range(times + 1)][1:]
    stages = {name: median(start.stages_s[name] for start in found) for name in found[0].stages_s}
    return Startup(
        stages,
        resident_mb=median(start.resident_mb for start in found),
        peak_mb=median(start.peak_mb for start in found),
        gpu_mb=None if found[0].gpu_mb is None else median(start.gpu_mb for start in found),
    )


def _start(model: Model, choice: Choice) -> Startup:
    described = json.dumps(dataclasses.asdict(model) | dataclasses.asdict(choice))
    command = [sys.executable, '-m', __name__, repr(time.time()), described]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise StartupError(
            f'a process with {choice} has no first mask after {TIMEOUT_S:g} s'
        ) from error
    if result.returncode:
        last_line = result.stderr.strip().rpartition('\n')[2] or f'status {result.returncode}'
        raise StartupError(f'a process with {choice} does not start: {last_line}')
    return Startup(**json.loads(result.stdout.splitlines()[-1]))


def main() -> None:
    """Start up, as the node does, and print a Startup as JSON."""
    stages: dict[str, float] = {}
    last = float(sys.argv[1])

    def finish(stage: str) -> None:
        nonlocal last
        now = time.time()
        stages[stage], last = now - last, now

    finish('python')
    arguments = json.loads(sys.argv[2])
    choice = Choice(arguments.pop('engine'), arguments.pop('precision'))
    model = Model(**arguments)
    from road_seg_ros import engines

    engines.preload()
    finish('libraries')
    # Not counted: it is for the measurement, and a process of its own.
    used_before_mb = machine.gpu_used_mb(model.device) if model.device != 'cpu' else float('nan')
    last = time.time()
    segmenter = model.open(choice)
    finish('model')
    image = np.zeros(IMAGE_SHAPE, np.uint8)
    segmenter(image)
    finish('first mask')
    for _ in range(IMAGES_UNTIL_STEADY):
        segmenter(image)
    gpu_mb = None
    if segmenter.engine.device != 'cpu':
        gpu_mb = machine.gpu_used_mb(segmenter.engine.device) - used_before_mb
    found = Startup(stages, machine.resident_mb(), machine.resident_mb(peak=True), gpu_mb)
    print(json.dumps(dataclasses.asdict(found)))


if __name__ == '__main__':
    main()
