"""The rates are those of the work that is done."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler

from training import throughput
from training.dataset import TrainingSet
from training.road_training import RoadTraining

RECIPE = str(Path(__file__).parent.parent / 'training' / 'configs' / 'compact.yaml')
SMALL = ['width=0.1', 'head=none', 'backbone=random', 'input_height=64', 'input_width=192']
SMALL += ['synthetic=0', 'batch_size=6', 'precision=32-true', 'workers=0', 'imitation=0']


def test_images_a_second_of_data_steps_and_both(
    kitti_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    now = 0.0  # on a clock that only the work moves: other tests run beside this one
    prepare, make_step = TrainingSet.__getitem__, throughput._training_step

    def taking(seconds: float, work: Callable[..., Any]) -> Callable[..., Any]:
        def worked(*arguments: Any) -> Any:
            nonlocal now
            now += seconds
            return work(*arguments)

        return worked

    monkeypatch.setattr(throughput.time, 'perf_counter', lambda: now)
    monkeypatch.setattr(TrainingSet, '__getitem__', taking(0.003, prepare))
    monkeypatch.setattr(throughput, '_training_step', lambda *a: taking(0.050, make_step(*a)))
    report = tmp_path / 'rates.json'
    arguments = ['--config', RECIPE, '--data', str(kitti_like), '--json', str(report)]
    assert throughput.main([*arguments, '--batches', '10', *SMALL]) == 0
    rates = json.loads(report.read_text())
    expected = {'data': 6 / 0.018, 'steps': 6 / 0.050, 'both': 6 / 0.068}
    assert rates == pytest.approx({**expected, 'utilisation': 0.050 / 0.068})
    assert 'utilisation: 74 %' in capsys.readouterr().out


def test_a_teacher_may_be_another_network(kitti_like: Path, tiny_model: Path) -> None:
    arguments = ['--config', RECIPE, '--data', str(kitti_like), '--teacher', str(tiny_model)]
    arguments += ['--batches', '2', *SMALL]
    assert throughput.main([*arguments, 'imitation=0.5']) == 0


def test_out_of_memory_says_what_to_lower(
    kitti_like: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(RoadTraining, 'forward', lambda *_: torch.empty(2**60))
    assert throughput.main(['--config', RECIPE, '--data', str(kitti_like), *SMALL]) == 1
    assert 'error: out of memory' in (error := capsys.readouterr().err)
    assert 'lower batch_size (now 6)' in error


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
