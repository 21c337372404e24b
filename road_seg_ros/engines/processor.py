"""What this machine's processor offers, and how much of it this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

CPU_INFO = Path('/proc/cpuinfo')
CGROUPS = Path('/sys/fs/cgroup')
OWN_CGROUPS = Path('/proc/self/cgroup')
# What Linux calls the bfloat16 arithmetic of a processor that an engine makes use of; the last is
# Arm's, where OpenVINO calculates in float32.
BF16_FLAGS = {
    'openvino': {'avx512_bf16', 'amx_bf16'},
    'torch': {'avx512_bf16', 'amx_bf16', 'bf16'},
}
# Sums of 8-bit products that cannot overflow. Arm's are left out: never measured.
INT8_FLAGS = {'avx512_vnni', 'avx_vnni', 'amx_int8'}


def has_bf16(engine: str, cpu_info: Path = CPU_INFO) -> bool:
    """Whether the processor calculates in bfloat16 itself, and the engine makes use of it."""
    return bool(BF16_FLAGS[engine] & _flags(cpu_info))


def has_int8(cpu_info: Path = CPU_INFO) -> bool:
    """
    Whether the processor has instructions for int8 (VNNI or AMX).

    Without them a sum of two 8-bit products may saturate, and int8 gains little over float32.
    """
    return bool(INT8_FLAGS & _flags(cpu_info))


def available_cores(cgroups: Path = CGROUPS, own_cgroups: Path = OWN_CGROUPS) -> int:
    """
    Return how many cores this process may keep busy, at least 1.

    Neither its affinity (taskset, Docker's --cpuset-cpus) nor the CPU quota of a cgroup round it
    (Docker's --cpus, Kubernetes' limits, systemd's CPUQuota) is exceeded: threads beyond a quota
    stall all of them until the next period.
    """
    cores = affinity()
    quota = min(_quotas(cgroups, own_cgroups), default=math.inf)
    return max(1, min(cores, math.ceil(quota) if quota < cores else cores))


def affinity() -> int:
    """Return on how many cores this process may run, at least 1."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def _quotas(cgroups: Path, own_cgroups: Path) -> list[float]:
    """Return the quota, in cores, of every cgroup round this process that has one."""
    try:
        lines = own_cgroups.read_text(encoding='ascii', errors='replace').splitlines()
    except OSError:
        return []
    quotas = []
    for line in lines:
        number, _, rest = line.partition(':')
        controllers, _, path = rest.partition(':')
        if number == '0' and not controllers:  # version 2
            root, read = cgroups, _quota_v2
        elif 'cpu' in controllers.split(','):  # version 1
            root, read = cgroups / controllers, _quota_v1
            if not root.is_dir():
                root = cgroups / 'cpu'
        else:
            continue
        # Inside a container the path may be the host's; its own cgroup is then mounted as root.
        group = root / path.lstrip('/')
        while True:
            quota = read(group)
            if quota is not None:
                quotas.append(quota)
            if group == root:
                break
            group = group.parent
    return quotas


def _quota_v2(group: Path) -> float | None:
    quota, _, period = _first_line(group / 'cpu.max').partition(' ')
    return _ratio(quota, period)  # the quota may be the word max


def _quota_v1(group: Path) -> float | None:
    quota = _first_line(group / 'cpu.cfs_quota_us')  # -1 for none
    return _ratio(quota, _first_line(group / 'cpu.cfs_period_us'))


def _ratio(quota: str, period: str) -> float | None:
    if quota.isdecimal() and period.isdecimal() and int(quota) and int(period):
        return int(quota) / int(period)
    return None


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding='ascii', errors='replace').partition('\n')[0].strip()
    except OSError:
        return ''


def _flags(cpu_info: Path) -> set[str]:
    try:
        lines = cpu_info.read_text(encoding='ascii', errors='replace').splitlines()
    except OSError:
        return set()
    for line in lines:
        name, _, value = line.partition(':')
        if name.strip() in ('flags', 'Features'):
            return set(value.split())
    return set()
