"""Affinity and CPU quotas are kept to; int8 and bfloat16 are told from the processor's flags."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from road_seg_ros.engines import processor


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: set(range(8)), raising=False)


def _cores(tmp_path: Path, own: str, files: dict[str, str]) -> int:
    cgroups = tmp_path / 'cgroup'
    for name, content in files.items():
        path = cgroups / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    own_cgroups = tmp_path / 'own'
    own_cgroups.write_text(own)
    return processor.available_cores(cgroups, own_cgroups)


@pytest.mark.parametrize(
    ('quota', 'cores'),
    [
        ('200000 100000', 2),
        ('150000 100000', 2),  # one and a half: a second thread still helps
        ('20000 100000', 1),
        ('max 100000', 8),
        ('9900000 100000', 8),  # more than there are
        ('0 100000', 8),
        ('damaged', 8),
        ('', 8),
    ],
)
def test_a_quota_of_cgroup_version_2_is_kept_to(tmp_path: Path, quota: str, cores: int) -> None:
    own = '0::/system.slice/robot.service\n'
    files = {'system.slice/robot.service/cpu.max': quota}
    assert _cores(tmp_path, own, files) == cores


def test_the_smallest_quota_of_all_the_groups_around_counts(tmp_path: Path) -> None:
    files = {'a/b/cpu.max': '500000 100000', 'a/cpu.max': '300000 100000', 'cpu.max': 'max 100000'}
    assert _cores(tmp_path, '0::/a/b\n', files) == 3


def test_a_container_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    assert _cores(tmp_path, '0::/docker/0123\n', {'cpu.max': '100000 100000'}) == 1


@pytest.mark.parametrize('mount', ['cpu,cpuacct', 'cpu'])
@pytest.mark.parametrize(('quota', 'cores'), [('400000', 4), ('-1', 8)])
def test_a_quota_of_cgroup_version_1_is_kept_to(
    tmp_path: Path, mount: str, quota: str, cores: int
) -> None:
    own = '5:memory:/x\n4:cpu,cpuacct:/docker/0123\n'
    files = {
        f'{mount}/docker/0123/cpu.cfs_quota_us': quota,
        f'{mount}/docker/0123/cpu.cfs_period_us': '100000',
    }
    assert _cores(tmp_path, own, files) == cores


def test_without_cgroups_the_affinity_counts(tmp_path: Path, monkeypatch) -> None:
    nowhere = tmp_path / 'none'
    assert processor.available_cores(nowhere, nowhere) == 8
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: {3, 5}, raising=False)
    assert processor.available_cores(nowhere, nowhere) == 2
    monkeypatch.delattr(os, 'sched_getaffinity')
    assert processor.available_cores(nowhere, nowhere) == os.cpu_count()


@pytest.mark.parametrize(
    ('flags', 'bf16', 'int8'),
    [
        ('flags\t\t: fpu avx2 avx512_bf16 avx512_vnni', True, True),
        ('flags\t\t: fpu avx2 avx_vnni', False, True),
        ('flags\t\t: fpu avx2 fma', False, False),
        ('Features\t: fp asimd asimddp bf16', True, False),
        ('model name\t: avx512_vnni', False, False),
    ],
)
def test_arithmetic_is_told_from_the_flags(
    tmp_path: Path, flags: str, bf16: bool, int8: bool
) -> None:
    cpu_info = tmp_path / 'cpuinfo'
    cpu_info.write_text(f'processor\t: 0\n{flags}\n\nprocessor\t: 1\n')
    assert (processor.has_bf16('torch', cpu_info), processor.has_int8(cpu_info)) == (bf16, int8)


def test_a_processor_that_cannot_be_asked_has_neither(tmp_path: Path) -> None:
    nowhere = tmp_path / 'none'
    assert not processor.has_bf16('torch', nowhere)
    assert not processor.has_int8(nowhere)
