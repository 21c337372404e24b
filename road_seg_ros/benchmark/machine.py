"""What a measurement ran on."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

import cv2

from road_seg_ros.engines.processor import available_cores

PACKAGES = ('numpy', 'torch', 'torchvision', 'openvino', 'onnxruntime')
# Instructions that decide how fast a network is, as Linux names them.
INSTRUCTIONS = (
    *('avx2', 'avx512f', 'avx_vnni', 'avx512_vnni', 'avx512_bf16', 'avx512_fp16'),
    *('amx_bf16', 'amx_int8', 'asimddp', 'i8mm', 'bf16', 'sve'),
)


@dataclass(frozen=True)
class Machine:
    """
    The machine and the libraries.

    cores: that this process may keep busy; gpus: name, memory and driver of each.
    """

    processor: str
    instructions: tuple[str, ...]
    cores: int
    memory_gb: float
    gpus: tuple[str, ...]
    system: str
    versions: dict[str, str]

    def describe(self) -> str:
        """Return it as Markdown, in a few lines."""
        instructions = f' ({", ".join(self.instructions)})' if self.instructions else ''
        versions = ', '.join(f'{name} {version}' for name, version in self.versions.items())
        return '\n'.join(
            (
                f'- {self.cores} cores of {self.processor}{instructions}, {self.memory_gb:.0f} GB',
                f'- GPU: {"; ".join(self.gpus) or "none"}',
                f'- {self.system}, {versions}',
            )
        )


def this_machine() -> Machine:
    """Find out what this machine is."""
    cpuinfo = _cpuinfo()
    flags = set(cpuinfo.get('flags', cpuinfo.get('Features', '')).split())
    versions = {'Python': platform.python_version(), 'OpenCV': cv2.__version__}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    if distribution := os.environ.get('ROS_DISTRO'):
        versions['ROS'] = distribution
    return Machine(
        processor=cpuinfo.get('model name', platform.machine()),
        instructions=tuple(name for name in INSTRUCTIONS if name in flags),
        cores=available_cores(),
        memory_gb=os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30,
        gpus=tuple(_ask_nvidia('name,memory.total,driver_version')),
        system=platform.platform(aliased=True, terse=True),
        versions=versions,
    )


def load() -> tuple[float, float, float]:
    """Return how many processes wanted to run, on average over 1, 5 and 15 minutes."""
    return os.getloadavg()


def resident_mb(pid: int | str = 'self', peak: bool = False) -> float:
    """Return the memory of a process that is in RAM, now or at its peak. OSError if it is gone."""
    name = 'VmHWM' if peak else 'VmRSS'
    for line in Path(f'/proc/{pid}/status').read_text(encoding='utf-8').splitlines():
        if line.startswith(f'{name}:'):
            return int(line.split()[1]) * 1024 / 1e6
    raise ProcessLookupError(f'process {pid} has ended')  # a zombie has no memory


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used. OSError if it is gone."""
    # After the name, which is in parentheses and may hold anything.
    fields = Path(f'/proc/{pid}/stat').read_text(encoding='utf-8').rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def gpu_used_mb(device: str) -> float:
    """Return the memory in use on a CUDA device, by all processes together; NaN if unknown."""
    index = int(device.partition(':')[2] or 0)
    visible = os.environ.get('CUDA_VISIBLE_DEVICES', '').split(',')
    gpu = visible[index].strip() if index < len(visible) else ''
    try:
        [used] = _ask_nvidia('memory.used', '--id', gpu or str(index))
        return float(used.removesuffix(' MiB')) * 2**20 / 1e6
    except ValueError:  # no such GPU, or [N/A]: the driver does not tell
        return float('nan')


def _ask_nvidia(fields: str, *options: str) -> list[str]:
    """Return a line for each NVIDIA GPU; none where there is no driver."""
    command = ['nvidia-smi', f'--query-gpu={fields}', '--format=csv,noheader', *options]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in result.stdout.splitlines() if line.strip()]


def _cpuinfo() -> dict[str, str]:
    """Return what /proc/cpuinfo says of the first processor."""
    try:
        text = Path('/proc/cpuinfo').read_text(encoding='utf-8', errors='replace')
    except OSError:
        return {}
    lines = (line.partition(':') for line in text.split('\n\n')[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}
