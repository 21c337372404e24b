"""The rates are those of the work that is done."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler

from training import throughput

RECIPE = str(Path(__file__).parent.parent / 'training' / 'configs' / 'compact.yaml')
SMALL = ['width=0.1', 'head=none', 'backbone=random', 'input_height=64', 'input_width=192']
SMALL += ['synthetic=0', 'batch_size=6', 'precision=32-true', 'workers=0', 'imitation=0']


def test_both_is_no_faster_than_either(kitti_like: Path, tmp_path: Path, capsys) -> None:
    report = tmp_path / 'rates.json'
    arguments = ['--config', RECIPE, '--data', str(kitti_like), '--json', str(report)]
    # For a second or two, because other tests run beside it.
    assert throughput.main([*arguments, '--batches', '40', *SMALL]) == 0
    rates = json.loads(report.read_text())
    assert 0 < rates['both'] < 1.5 * min(rates['data'], rates['steps'])
    assert rates['utilisation'] == pytest.approx(rates['both'] / rates['steps'])
    assert 'utilisation' in capsys.readouterr().out


def test_a_teacher_may_be_another_network(kitti_like: Path, tiny_model: Path) -> None:
    arguments = ['--config', RECIPE, '--data', str(kitti_like), '--teacher', str(tiny_model)]
    arguments += ['--batches', '2', *SMALL]
    assert throughput.main([*arguments, 'imitation=0.5']) == 0


def test_a_rate_leaves_out_the_warm_up() -> None:
    slow_start = iter([0.5] * throughput.WARM_UP)
    batches = ((range(5), None) for _ in range(100))
    rate = throughput._rate(batches, lambda _: time.sleep(next(slow_start, 0.01)), 10)
    assert 60 < rate < 500  # five images in a little over 10 ms; below 45 with the slow ones


class _Slow(Dataset):
    """Each item takes 50 ms; eight workers have 160 a second, and 16 ready before anyone asks."""

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> torch.Tensor:
        time.sleep(0.05)
        return torch.zeros(1)


class _Batches(BatchSampler):
    def set_epoch(self, epoch: int) -> None:
        pass


@pytest.mark.filterwarnings('ignore:This DataLoader will create')  # they only sleep
def test_what_was_ready_before_is_no_rate() -> None:
    dataset = _Slow()
    loader = DataLoader(
        dataset,
        batch_sampler=_Batches(SequentialSampler(dataset), 1, drop_last=False),
        num_workers=8,
    )
    # No faster than the workers are, give or take the batch that each is about to hand over.
    assert throughput._loader_rate(loader, lambda _: None, 2) < 1.15 * 8 / 0.05


def test_an_unknown_setting_is_one_line(kitti_like: Path, capsys) -> None:
    assert throughput.main(['--config', RECIPE, '--data', str(kitti_like), 'speed=1']) == 2
    assert "error: there is no setting 'speed'" in capsys.readouterr().err
