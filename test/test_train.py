"""Training learns on small data, resumes, and writes a model that others can use."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import lightning
import numpy as np
import pytest
import torch

from road_seg_ros import checkpoint
from road_seg_ros.checkpoint import InputSize
from road_seg_ros.fcn8 import FCN8
from road_seg_ros.kitti import write_label
from road_seg_ros.metrics import NOT_ROAD, NOT_SCORED, ROAD
from training import config, evaluate, summary, train
from training.callbacks import Average, Progress
from training.config import TrainingConfig
from training.kitti_road import find_pairs, split_fold
from training.road_training import RoadTraining, TrainingError
from training.run import Run

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / 'training' / 'configs'
# Runs a training and leaves the weights of each process behind.
TWO_PROCESSES = """
import sys, torch
from training import train
from training.road_training import RoadTraining

def keep(self):
    folder = self.trainer.default_root_dir
    torch.save(self.network.state_dict(), f'{{folder}}/rank{{self.global_rank}}.pt')

RoadTraining.on_fit_end = keep
sys.exit(train.main({arguments}))
"""
SMALL = (
    'folds=5',
    'fold=4',
    'width=0.1',
    'head=none',
    'backbone=random',
    'init_std=0.1',
    'input_height=64',
    'input_width=192',
    'augmentation=flip',
    'many_shapes=false',
    'crop=1.0',
    'ema=0.0',
    'fine_tuning=0',
    'synthetic=0',
    'imitation=0',
    'batch_size=6',
    'lr=3e-3',
    'backbone_lr=3e-3',
    'precision=32-true',
    'workers=0',
)


def _train(data: Path, out: Path, *arguments: str) -> int:
    recipe = str(CONFIGS / 'compact.yaml')
    options = ['--config', recipe, '--data', str(data), '--out', str(out)]
    return train.main([*options, *SMALL, *arguments])


def _losses(out: Path) -> list[float]:
    with open(out / 'csv' / 'version_0' / 'metrics.csv', newline='') as file:
        return [float(row['loss_epoch']) for row in csv.DictReader(file) if row['loss_epoch']]


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train on the CPU, which alone promises the same weights each time."""
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)


@pytest.fixture(scope='module')
def run(kitti_like: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('run')
    assert _train(kitti_like, out, 'epochs=12', 'validate_every=4') == 0
    return out


# Weather, other cameras' shapes and synthetic scenes before; four epochs of fine-tuning two.
FINE_TUNED = (
    *('epochs=6', 'validate_every=2', 'fine_tuning=0.34', 'augmentation=weather'),
    *('many_shapes=true', 'synthetic=6', 'head=fc1024', 'dropout=0.3', 'ema=0.9'),
)


@pytest.fixture(scope='module')
def fine_tuned(kitti_like: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('fine_tuned')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, 'device_count', lambda: 0)
        assert _train(kitti_like, out, *FINE_TUNED) == 0
    return out


def test_training_learns_the_road(run: Path) -> None:
    losses = _losses(run)
    assert len(losses) == 12
    assert losses[-1] < 0.6 * losses[0]
    info = checkpoint.load_info(run / 'model.safetensors')
    assert info.metrics['max_f'] > 70
    assert 0 < info.threshold < 1


def test_the_model_knows_where_it_comes_from(run: Path) -> None:
    info = checkpoint.load_info(run / 'model.safetensors')
    assert info.training['epochs'] == 12
    assert info.training['lr'] == 3e-3
    assert (info.input.height, info.input.width) == (64, 192)
    assert info.architecture == {'width': 0.1, 'head': 'none', 'classes': 2}
    assert 'KITTI' in info.data and 'fold 4 of 5' in info.data
    assert 'CC BY-NC-SA' in info.data_license
    assert info.metrics['threshold'] == info.threshold


@pytest.mark.parametrize('kind', ['run', 'fine_tuned'])
def test_evaluate_gives_the_score_that_training_measured(
    kind: str, kitti_like: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(kind) / 'model.safetensors'
    report = tmp_path / 'scores.json'
    arguments = ['--model', str(model), '--data', str(kitti_like), '--json', str(report)]
    arguments += ['--engine', 'torch', '--precision', 'fp32', '--validation-fold']
    assert evaluate.main(arguments) == 0
    content = json.loads(report.read_text())
    urban = content['perspective']['urban']
    measured = checkpoint.load_info(model).metrics
    assert urban['max_f'] == pytest.approx(measured['max_f'], abs=0.3)  # float16 weights
    # The temperature and the threshold in the file belong together.
    assert urban['iou'] == pytest.approx(measured['iou'], abs=0.5)
    assert urban['ece'] == pytest.approx(measured['ece'], abs=0.5)
    assert content['images'] == 6


@pytest.mark.usefixtures('no_gpu')
@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('kill_at', ['start of epoch 2', 'middle of epoch 2'])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    kitti_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill_at: str, workers: int
) -> None:
    options = ('epochs=4', 'validate_every=2', 'head=fc1024', 'dropout=0.3', 'ema=0.9')
    options += ('augmentation=weather', 'many_shapes=true', f'workers={workers}')
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    assert _train(kitti_like, whole, *options) == 0

    class Killed(BaseException):
        pass

    step = RoadTraining.training_step

    def killed(self: RoadTraining, batch: Any, index: int) -> torch.Tensor:
        if self.current_epoch == 2 and index == (0 if 'start' in kill_at else 2):
            raise Killed
        return step(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(RoadTraining, 'training_step', killed)
        with pytest.raises(Killed):
            _train(kitti_like, parts, *options)
    assert _train(kitti_like, parts, *options, '--resume') == 0
    with open(parts / 'csv' / 'version_1' / 'metrics.csv', newline='') as file:
        epochs = [int(row['epoch']) for row in csv.DictReader(file) if row['epoch']]
    assert min(epochs) == 2  # not from the start
    ends = [checkpoint.load(out / 'model.safetensors') for out in (whole, parts)]
    assert ends[0][1].metrics == ends[1][1].metrics
    for name, weights in ends[0][0].state_dict().items():
        assert torch.equal(weights, ends[1][0].state_dict()[name]), name
    assert _train(kitti_like, parts, *options) == 2  # would overwrite the run


@pytest.mark.usefixtures('no_gpu')
def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    kitti_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    options = ('epochs=2', 'validate_every=2', 'head=fc1024', 'dropout=0.3')
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    assert _train(kitti_like, whole, *options) == 0
    save, saved = torch.save, []

    def disk_is_full(checkpoint: Any, path: Path) -> None:
        saved.append(path)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        if len(saved) == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        try:
            save(checkpoint, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    with monkeypatch.context() as patch:
        patch.setattr(torch, 'save', disk_is_full)
        assert _train(kitti_like, parts, *options) == 2
    assert 'last.ckpt.part cannot be written: ' in capsys.readouterr().err
    assert [path.name for path in (parts / 'checkpoints').iterdir()] == ['last.ckpt']
    assert _train(kitti_like, parts, *options, '--resume') == 0
    ends = [checkpoint.load(out / 'model.safetensors')[0].state_dict() for out in (whole, parts)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


@pytest.mark.usefixtures('no_gpu')
@pytest.mark.parametrize('fine_tuning', [0, 0.5])
def test_two_processes_train_as_one(kitti_like: Path, tmp_path: Path, fine_tuning: float) -> None:
    # A low rate: Adam makes much of gradients that differ in their last bits only.
    options = ('epochs=2', 'validate_every=1', 'dropout=0.0', 'ema=0.5', 'folds=6')
    options += ('lr=5e-4', 'backbone_lr=5e-4', f'fine_tuning={fine_tuning}')
    assert _train(kitti_like, tmp_path / 'one', *options) == 0
    recipe = str(CONFIGS / 'compact.yaml')
    arguments = ['--config', recipe, '--data', str(kitti_like), '--out', str(tmp_path / 'two')]
    script = tmp_path / 'script.py'
    script.write_text(TWO_PROCESSES.format(arguments=[*arguments, *SMALL, *options]))
    command = [sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node', '2']
    command += ['--standalone', str(script)]
    environment = {**os.environ, 'CUDA_VISIBLE_DEVICES': '', 'PYTHONPATH': str(ROOT)}
    environment.pop('_ROS_WHEELS_BOOTSTRAP_COMPLETE', None)
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    ranks = [torch.load(tmp_path / f'two/rank{rank}.pt') for rank in (0, 1)]
    for name, weights in ranks[0].items():
        assert torch.equal(weights, ranks[1][name]), name
    one, two = (checkpoint.load(tmp_path / name / 'model.safetensors') for name in ('one', 'two'))
    assert one[1].metrics['max_f'] == pytest.approx(two[1].metrics['max_f'], abs=0.1)
    assert _losses(tmp_path / 'one') == pytest.approx(_losses(tmp_path / 'two'), rel=1e-3)
    for name, weights in one[0].state_dict().items():
        torch.testing.assert_close(weights, two[0].state_dict()[name], atol=2e-3, rtol=2e-2)


def test_the_average_follows_the_module_to_its_device() -> None:
    module = RoadTraining(FCN8(0.05, 'none'), config.read(CONFIGS / 'compact.yaml', SMALL))
    average = Average(decay=0.9)
    average.setup(None, module, 'fit')
    module.to('meta')
    average.on_fit_start(None, module)
    devices = {weights.device.type for weights in average._average_model.parameters()}
    assert devices == {'meta'}
    assert average._average_model.n_averaged.device.type == 'cpu'  # is read at every step


def test_without_validation_everything_trains(kitti_like: Path, tmp_path: Path) -> None:
    assert (
        _train(kitti_like, tmp_path, 'epochs=3', 'folds=0', 'fold=-1', 'threshold=0.4', 'ema=0.5')
        == 0
    )
    assert (tmp_path / 'checkpoints' / 'last.ckpt').is_file()
    info = checkpoint.load_info(tmp_path / 'model.safetensors')
    assert (info.threshold, info.metrics) == (0.4, {})
    assert '30 images for training' in info.data
    arguments = ['--model', str(tmp_path / 'model.safetensors'), '--data', str(kitti_like)]
    assert evaluate.main([*arguments, '--validation-fold']) == 2


def test_cross_validation_is_one_command_and_goes_on_after_a_stop(
    kitti_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    options = ('epochs=2', 'validate_every=2', 'folds=3', 'fold=-1')
    train_once, folds = train.train_once, []

    def stop_after_two(settings: TrainingConfig, *arguments: Any) -> None:
        if settings.fold == 2 and not folds.count(2):
            folds.append(2)
            raise KeyboardInterrupt
        folds.append(settings.fold)
        train_once(settings, *arguments)

    monkeypatch.setattr(train, 'train_once', stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        _train(kitti_like, tmp_path, *options)
    models = [tmp_path / f'fold{fold}' / 'model.safetensors' for fold in (0, 1)]
    before = [model.read_bytes() for model in models]
    assert _train(kitti_like, tmp_path, *options, '--resume') == 0
    assert folds == [0, 1, 2, 0, 1, 2]
    assert [model.read_bytes() for model in models] == before  # they were finished
    summary = json.loads((tmp_path / 'cross_validation.json').read_text())
    assert [fold['images'] for fold in summary['folds']] == [12, 9, 9]
    scores = [fold['perspective']['urban']['max_f'] for fold in summary['folds']]
    assert summary['mean']['perspective']['urban']['max_f'] == pytest.approx(sum(scores) / 3)
    spread = summary['standard_deviation']['perspective']['urban']['max_f']
    assert spread == pytest.approx(statistics.stdev(scores))
    assert summary['pooled']['images'] == 30
    assert summary['mean']['bev'] is None
    assert '| urban | ' in (tmp_path / 'cross_validation.md').read_text()
    for changed, words in (('lr=1e-3', 'lr was 0.003 and is 0.001'), ('folds=2', 'folds was 3')):
        assert _train(kitti_like, tmp_path, *options, '--resume', changed) == 2
        assert f'error: --resume goes on with the settings of the run; {words}' in (
            capsys.readouterr().err
        )
    other = Path(shutil.copytree(kitti_like, tmp_path / 'other'))
    for path in (other / 'training').rglob('um_*000009.png'):
        path.unlink()
    assert _train(other, tmp_path, *options, '--resume') == 2
    assert 'the run; other training images: 18 with digest' in capsys.readouterr().err
    for fold in range(2):
        shutil.rmtree(tmp_path / f'fold{fold}' / 'checkpoints')  # to free space
    assert _train(other, tmp_path, *options, '--resume') == 2
    assert 'fold0 is of other data: KITTI Road: 18 images' in capsys.readouterr().err
    assert _train(kitti_like, tmp_path, *options) == 2
    assert 'already holds a run' in capsys.readouterr().err
    assert _train(kitti_like, tmp_path, *options, '--resume') == 0
    assert [model.read_bytes() for model in models] == before


def test_fine_tuning_keeps_the_average_of_before_and_after(fine_tuned: Path) -> None:
    paths = ['before_fine_tuning', 'fine_tuning/model', 'model']
    (before, first), (tuned, second), (average, whole) = (
        checkpoint.load(fine_tuned / f'{path}.safetensors') for path in paths
    )
    for name, weights in average.state_dict().items():
        mean = (before.state_dict()[name] + tuned.state_dict()[name]) / 2
        torch.testing.assert_close(weights, mean, atol=1e-6, rtol=1e-3)  # float16 in the file
        if name.endswith('weight'):
            assert not torch.equal(before.state_dict()[name], tuned.state_dict()[name]), name
    names = ('epochs', 'fine_tuning', 'synthetic', 'many_shapes', 'validate_every')
    assert [[info.training[name] for name in names] for info in (first, second, whole)] == [
        [4, 0.0, 6, True, 2], [2, 0.0, 0, False, 2], [6, 0.34, 6, True, 2],
    ]  # fmt: skip
    assert ['synthetic' in info.data for info in (first, second, whole)] == [True] * 3
    assert '; 6 synthetic scenes' in first.data and '; 0 synthetic scenes' in second.data
    assert whole.data == first.data and whole.seen == first.seen == second.seen
    assert 'from before_fine_tuning.safetensors' in second.data
    assert (first.metrics['epoch'], second.metrics['epoch']) == (4, 2)
    assert len({info.metrics['max_f'] for info in (first, second, whole)}) == 3
    assert whole.metrics['threshold'] == whole.threshold
    assert [len(_losses(out)) for out in (fine_tuned, fine_tuned / 'fine_tuning')] == [4, 2]


def test_fine_tuning_sees_labelled_images_in_the_shape_of_the_input_alone(
    kitti_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int, tuple[int, ...]]] = []
    step = RoadTraining.training_step

    def watched(self: RoadTraining, batch: Any, index: int) -> torch.Tensor:
        batches = self.trainer.num_training_batches
        seen.append((self.settings.epochs, batches, tuple(batch[0].shape[2:])))
        return step(self, batch, index)

    monkeypatch.setattr(RoadTraining, 'training_step', watched)
    assert _train(kitti_like, tmp_path, *FINE_TUNED) == 0
    before = [one for one in seen if one[0] == 4]
    after = [one for one in seen if one[0] == 2]
    assert {batches for _, batches, _ in before} == {5}  # 24 + 6 images, 6 at a time
    assert len({shape for _, _, shape in before}) > 1
    assert {(batches, shape) for _, batches, shape in after} == {(4, (64, 192))}


@pytest.mark.usefixtures('no_gpu')
@pytest.mark.parametrize('killed_in', [3, 1, 0])  # epochs left
def test_a_run_goes_on_with_its_fine_tuning(
    fine_tuned: Path,
    kitti_like: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys,
    killed_in: int,
) -> None:
    class Killed(BaseException):
        pass

    epochs, start = [], RoadTraining.on_train_epoch_start

    def epoch_starts(self: RoadTraining) -> None:
        epochs.append((self.settings.epochs, self.current_epoch))
        if len(epochs) == 6 - killed_in:
            raise Killed
        start(self)

    def average_starts(self: Run, models: Sequence[Path]) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        if killed_in:
            patch.setattr(RoadTraining, 'on_train_epoch_start', epoch_starts)
        else:
            patch.setattr(Run, 'write_average', average_starts)
        with pytest.raises(Killed):
            _train(kitti_like, tmp_path, *FINE_TUNED)
    assert not (tmp_path / 'model.safetensors').exists()
    assert _train(kitti_like, tmp_path, *FINE_TUNED) == 2
    assert 'already holds a run' in capsys.readouterr().err
    if killed_in < 2:  # which only the first part had
        assert _train(kitti_like, tmp_path, *FINE_TUNED, '--resume', 'synthetic=5') == 2
        assert 'synthetic was 6 and is 5' in capsys.readouterr().err
    for _ in range(2):  # the second time, nothing is left to do
        assert _train(kitti_like, tmp_path, *FINE_TUNED, '--resume') == 0
        ends = [checkpoint.load(out / 'model.safetensors') for out in (fine_tuned, tmp_path)]
        assert ends[0][1].metrics == ends[1][1].metrics
        for name, weights in ends[0][0].state_dict().items():
            assert torch.equal(weights, ends[1][0].state_dict()[name]), name


def test_cross_validation_fine_tunes_each_fold(kitti_like: Path, tmp_path: Path) -> None:
    options = ('epochs=2', 'validate_every=2', 'fine_tuning=0.5', 'folds=2', 'fold=-1')
    assert _train(kitti_like, tmp_path, *options) == 0
    models = [tmp_path / f'fold{fold}' / 'model.safetensors' for fold in (0, 1)]
    before = [model.read_bytes() for model in models]
    for checkpoints in tmp_path.rglob('checkpoints'):
        shutil.rmtree(checkpoints)  # to free space
    assert len(json.loads((tmp_path / 'cross_validation.json').read_text())['folds']) == 2
    assert _train(kitti_like, tmp_path, *options, '--resume') == 0
    assert [model.read_bytes() for model in models] == before


def test_without_validation_fine_tuning_trains_on_everything_too(
    kitti_like: Path, tmp_path: Path
) -> None:
    options = ('epochs=2', 'fine_tuning=0.5', 'folds=0', 'fold=-1', 'threshold=0.4')
    assert _train(kitti_like, tmp_path, *options, 'temperature=1.5') == 0
    infos = [
        checkpoint.load_info(out / 'model.safetensors')
        for out in (tmp_path, tmp_path / 'fine_tuning')
    ]
    for info in infos:
        assert (info.threshold, info.temperature, info.metrics) == (0.4, 1.5, {})
        assert '30 images for training' in info.data


def test_a_finished_run_without_its_model_is_told(
    kitti_like: Path, tmp_path: Path, capsys
) -> None:
    options = ('epochs=1', 'validate_every=1')
    assert _train(kitti_like, tmp_path, *options) == 0
    model = tmp_path / 'model.safetensors'
    model.unlink()
    assert _train(kitti_like, tmp_path, *options, '--resume') == 2
    assert f'error: the run has ended, and its {model} is not' in capsys.readouterr().err


def test_training_goes_on_from_a_ready_model(
    run: Path, kitti_like: Path, tmp_path: Path, capsys, caplog
) -> None:
    start = str(run / 'model.safetensors')
    options = ('epochs=1', 'validate_every=1', 'lr=1e-5', 'backbone_lr=1e-5', '--start', start)
    assert _train(kitti_like, tmp_path / 'on', *options) == 0
    before, after = (
        checkpoint.load_info(out / 'model.safetensors') for out in (run, tmp_path / 'on')
    )
    assert after.metrics['max_f'] == pytest.approx(before.metrics['max_f'], abs=1)
    assert 'from model.safetensors' in after.data
    assert 'from random' in before.data
    assert after.data_license == before.data_license  # the same one, once
    assert 'was trained on' not in caplog.text
    assert _train(kitti_like, tmp_path / 'seen', *options, 'fold=3') == 0
    assert '--start was trained on 6 of the 6 images that validate here' in caplog.text
    assert _train(kitti_like, tmp_path / 'wider', *options, 'width=0.2') == 2
    assert "model.safetensors is {'width': 0.1" in capsys.readouterr().err


@pytest.mark.parametrize('option', ['--start', '--teacher'])
def test_a_model_keeps_the_licence_of_the_one_it_learned_from(
    run: Path, kitti_like: Path, tmp_path: Path, option: str
) -> None:
    network, info = checkpoint.load(run / 'model.safetensors')
    parent = tmp_path / 'parent.safetensors'
    checkpoint.save(parent, network, dataclasses.replace(info, data_license='not for sale'))
    options = ('epochs=1', 'validate_every=1', f'imitation={int(option == "--teacher")}')
    assert _train(kitti_like, tmp_path / 'on', *options, option, str(parent)) == 0
    after = checkpoint.load_info(tmp_path / 'on' / 'model.safetensors')
    assert after.data_license == f'not for sale; {info.data_license}'


def test_a_student_imitates_its_teacher(run: Path, kitti_like: Path, tmp_path: Path) -> None:
    teacher = run / 'model.safetensors'
    options = ('epochs=6', 'validate_every=6', 'width=0.08', 'imitation=1.0')
    assert _train(kitti_like, tmp_path, *options, '--teacher', str(teacher)) == 0
    assert _losses(tmp_path)[-1] < 0.5 * _losses(tmp_path)[0]
    info = checkpoint.load_info(tmp_path / 'model.safetensors')
    assert info.metrics['max_f'] > 70  # without a look at any label


def test_a_teacher_of_larger_images_is_told(
    run: Path, kitti_like: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network, info = checkpoint.load(run / 'model.safetensors')
    options = ('epochs=1', 'validate_every=1', 'imitation=0.5', '--teacher')
    assert _train(kitti_like, tmp_path / 'same', *options, str(run / 'model.safetensors')) == 0
    assert 'knows less' not in caplog.text
    larger = tmp_path / 'larger.safetensors'
    checkpoint.save(larger, network, dataclasses.replace(info, input=InputSize(96, 288)))
    assert _train(kitti_like, tmp_path / 'larger', *options, str(larger)) == 0
    assert 'has learned at 96x288 and knows less at 64x192' in caplog.text


def test_without_a_teacher_the_labels_teach(kitti_like: Path, tmp_path: Path, caplog) -> None:
    assert _train(kitti_like, tmp_path, 'epochs=1', 'folds=0', 'fold=-1', 'imitation=0.5') == 0
    assert 'no --teacher: the labels alone teach' in caplog.text
    info = checkpoint.load_info(tmp_path / 'model.safetensors')
    assert info.training['imitation'] == 0
    assert 'no teacher' in info.data


def test_unlabelled_images_teach_through_the_teacher(
    run: Path, kitti_like: Path, tmp_path: Path
) -> None:
    options = ('epochs=1', 'folds=0', 'fold=-1', 'imitation=0.5')
    teacher = str(run / 'model.safetensors')
    unlabelled = str(kitti_like / 'training' / 'image_2')
    arguments = ['--teacher', teacher, '--unlabelled', unlabelled]
    assert _train(kitti_like, tmp_path, *options, *arguments) == 0
    with open(tmp_path / 'csv' / 'version_0' / 'metrics.csv', newline='') as file:
        steps = [int(row['step']) for row in csv.DictReader(file) if row['loss_step']]
    assert max(steps) + 1 == 10  # 30 images and 30 more, in batches of 6


def test_unlabelled_images_of_kitti_bring_its_licence(
    run: Path, kitti_like: Path, tmp_path: Path
) -> None:
    own = tmp_path / 'own'
    for folder, road in (('image_2', ''), ('gt_image_2', '_road')):
        (own / 'training' / folder).mkdir(parents=True)
        for index in range(6):
            name = f'um{road}_{index:06d}.png'
            shutil.copy(
                kitti_like / 'training' / folder / name,
                own / 'training' / folder / name.replace('um', 'own'),
            )
    network, info = checkpoint.load(run / 'model.safetensors')
    free = tmp_path / 'free.safetensors'
    checkpoint.save(free, network, dataclasses.replace(info, data_license=''))
    for unlabelled, license in (
        (kitti_like / 'training' / 'image_2', info.data_license),
        (own / 'training' / 'image_2', ''),
    ):
        out = tmp_path / f'out{len(license)}'
        options = ('epochs=1', 'folds=0', 'fold=-1', 'imitation=0.5', '--teacher', str(free))
        assert _train(own, out, *options, '--unlabelled', str(unlabelled)) == 0
        assert checkpoint.load_info(out / 'model.safetensors').data_license == license


def test_a_finished_run_that_is_resumed_keeps_its_model(kitti_like: Path, tmp_path: Path) -> None:
    options = ('epochs=2', 'folds=0', 'fold=-1', 'ema=0.9')
    assert _train(kitti_like, tmp_path, *options) == 0
    before = checkpoint.load(tmp_path / 'model.safetensors')[0].state_dict()
    assert _train(kitti_like, tmp_path, *options, '--resume') == 0
    after = checkpoint.load(tmp_path / 'model.safetensors')[0].state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_run_is_not_resumed_with_other_settings(
    kitti_like: Path, tmp_path: Path, capsys
) -> None:
    assert _train(kitti_like, tmp_path, 'epochs=1', 'validate_every=1') == 0
    assert _train(kitti_like, tmp_path, 'epochs=1', 'validate_every=1', 'fold=1', '--resume') == 2
    assert 'fold was 4 and is 1 now' in capsys.readouterr().err


def test_a_run_is_not_resumed_from_another_start(
    run: Path, kitti_like: Path, tmp_path: Path, capsys
) -> None:
    shutil.copytree(run, tmp_path / 'run')
    options = ('epochs=12', 'validate_every=4', '--start', str(run / 'model.safetensors'))
    assert _train(kitti_like, tmp_path / 'run', *options, '--resume') == 2
    error = capsys.readouterr().err
    assert 'error: --resume goes on with the data and models of the run; other --start' in error
    assert error.endswith(', and not none\n')


@pytest.mark.parametrize(('index', 'part'), [(0, 'training'), (8, 'validation')])
def test_a_run_is_not_resumed_with_other_images_of_the_same_names(
    run: Path, kitti_like: Path, tmp_path: Path, capsys, index: int, part: str
) -> None:
    shutil.copytree(run, tmp_path / 'run')
    options = ('epochs=12', 'validate_every=4', '--resume')
    other = Path(shutil.copytree(kitti_like, tmp_path / 'moved' / kitti_like.name))
    assert _train(other, tmp_path / 'run', *options) == 0  # it is the same, elsewhere
    pair = find_pairs(other)[index]
    cv2.imwrite(str(pair.image_path), pair.read_image() // 2)
    assert _train(other, tmp_path / 'run', *options) == 2
    assert f'of the run; other {part} images: ' in capsys.readouterr().err
    shutil.copy(find_pairs(kitti_like)[index].image_path, pair.image_path)
    write_label(pair.label_path, np.roll(pair.read_label(), 40))
    assert _train(other, tmp_path / 'run', *options) == 2
    assert f'of the run; other {part} labels: ' in capsys.readouterr().err


def test_a_run_is_not_resumed_with_another_teacher_of_the_same_name(
    run: Path, kitti_like: Path, tmp_path: Path, capsys
) -> None:
    network, info = checkpoint.load(run / 'model.safetensors')
    teacher = tmp_path / 'teacher.safetensors'
    options = ('epochs=1', 'validate_every=1', 'imitation=0.5', '--teacher', str(teacher))
    options += ('folds=2', 'fold=-1')
    checkpoint.save(teacher, network, info)
    assert _train(kitti_like, tmp_path / 'run', *options) == 0
    torch.nn.init.zeros_(network.score3.weight)
    checkpoint.save(teacher, network, info)
    assert _train(kitti_like, tmp_path / 'run', *options, '--resume') == 2
    assert 'of the run; other --teacher model: ' in capsys.readouterr().err


def test_a_run_is_not_resumed_with_other_unlabelled_images(
    run: Path, kitti_like: Path, tmp_path: Path, capsys
) -> None:
    unlabelled = Path(shutil.copytree(kitti_like / 'training' / 'image_2', tmp_path / 'more'))
    options = ('epochs=1', 'validate_every=1', 'imitation=0.5', '--unlabelled', str(unlabelled))
    options += ('--teacher', str(run / 'model.safetensors'))
    assert _train(kitti_like, tmp_path / 'run', *options) == 0
    first, second = sorted(unlabelled.iterdir())[:2]
    shutil.copy(first, second)
    assert _train(kitti_like, tmp_path / 'run', *options, '--resume') == 2
    assert 'of the run; other unlabelled images: ' in capsys.readouterr().err


def test_the_last_epoch_is_kept_wherever_checkpoints_fall(
    kitti_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ('epochs=3', 'validate_every=3', 'checkpoint_every=2', 'ema=0.9')
    assert _train(kitti_like, tmp_path, *options) == 0
    before = (tmp_path / 'model.safetensors').read_bytes()
    monkeypatch.setattr(RoadTraining, 'training_step', lambda *_: pytest.fail('trains again'))
    assert _train(kitti_like, tmp_path, *options, '--resume') == 0
    assert (tmp_path / 'model.safetensors').read_bytes() == before


def test_a_torn_log_costs_the_summary_alone(
    kitti_like: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = ('epochs=1', 'validate_every=1')
    assert _train(kitti_like, tmp_path, *options) == 0
    (log,) = tmp_path.glob('csv/version_*/metrics.csv')
    log.write_text('epoch,max_f\n0,broken\n')
    assert _train(kitti_like, tmp_path, *options, '--resume') == 0
    assert f'no summary: {log} is no log of a run' in caplog.text


def test_a_damaged_checkpoint_is_named(kitti_like: Path, tmp_path: Path, capsys) -> None:
    options = ('epochs=1', 'validate_every=1')
    assert _train(kitti_like, tmp_path, *options) == 0
    last = tmp_path / 'checkpoints' / 'last.ckpt'
    content = last.read_bytes()
    middle = len(content) // 2
    for damaged in (content[:-100], b'', content[:middle] + b'?' * 100 + content[middle + 100 :]):
        last.write_bytes(damaged)
        assert _train(kitti_like, tmp_path, *options, '--resume') == 2
        assert f'error: {last} is damaged; remove it to' in capsys.readouterr().err


def test_one_training_at_a_time_writes_to_a_folder(
    kitti_like: Path, tmp_path: Path, capsys
) -> None:
    script = 'import sys, pathlib; from training import out_folder\n'
    script += (
        f'with out_folder.owned(pathlib.Path({str(tmp_path)!r})): print(1, flush=True); input()'
    )
    command = [sys.executable, '-c', script]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    environment.pop('_ROS_WHEELS_BOOTSTRAP_COMPLETE', None)
    options = ('epochs=1', 'validate_every=1')
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b'1\n'
        assert _train(kitti_like, tmp_path, *options) == 2
        assert f'error: another training is writing to {tmp_path}' in capsys.readouterr().err
        other.communicate(b'\n', timeout=60)
    assert _train(kitti_like, tmp_path, *options) == 0


def test_a_folder_that_cannot_be_made_is_told_before_images_are_read(
    kitti_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(train, 'read_all', lambda _: pytest.fail('images were read'))
    (tmp_path / 'file').write_text('')
    assert _train(kitti_like, tmp_path / 'file', 'epochs=1', 'validate_every=1') == 2
    assert f'error: --out {tmp_path / "file"} is not a folder' in capsys.readouterr().err


def test_a_run_without_a_checkpoint_leaves_nothing_to_the_next(
    kitti_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    start = Progress.on_train_epoch_start

    def killed(self: Progress, trainer: lightning.Trainer, *arguments: Any) -> None:
        if trainer.current_epoch == 1:
            raise Killed
        start(self, trainer, *arguments)

    options = ('epochs=6', 'validate_every=1', 'checkpoint_every=6')
    with monkeypatch.context() as patch:
        patch.setattr(Progress, 'on_train_epoch_start', killed)
        with pytest.raises(Killed):
            _train(kitti_like, tmp_path, *options, 'lr=0.1')
    dead = _losses(tmp_path)
    assert _train(kitti_like, tmp_path, 'epochs=1', 'validate_every=1') == 0
    epochs = summary.read_epochs(tmp_path)
    assert dead and list(epochs) == [1] and epochs[1]['loss_epoch'] not in dead
    assert len(list((tmp_path / 'tensorboard').glob('events*'))) == 1


def test_a_run_shorter_than_its_checkpoints_are_apart_is_kept_too(
    kitti_like: Path, tmp_path: Path, capsys
) -> None:
    options = ('epochs=1', 'folds=0', 'fold=-1', 'checkpoint_every=10')
    assert _train(kitti_like, tmp_path, *options) == 0
    assert _train(kitti_like, tmp_path, *options) == 2
    assert 'already holds a run' in capsys.readouterr().err


@pytest.mark.parametrize('folds', [('folds=0', 'fold=-1'), ('folds=5', 'validate_every=1')])
def test_a_loss_that_is_not_finite_says_what_to_lower(
    kitti_like: Path, tmp_path: Path, capsys, folds: tuple[str, ...]
) -> None:
    assert _train(kitti_like, tmp_path, 'epochs=2', *folds, 'lr=1e30', 'backbone_lr=1e30') == 2
    told = capsys.readouterr()
    assert re.search('error: the loss is (nan|inf) in epoch 1; lower lr', told.err)
    assert told.out.endswith('\n')  # the bar's line has ended


def test_an_answer_that_is_not_finite_says_what_to_lower() -> None:
    module = RoadTraining(FCN8(0.1, 'none'), TrainingConfig())
    torch.nn.init.constant_(module.network.score3.bias, np.nan)  # by the epoch's last step
    image, label = torch.zeros((1, 3, 64, 64), dtype=torch.uint8), torch.zeros((1, 64, 64))
    words = 'an answer is nan in epoch 1; lower lr'
    with torch.no_grad(), pytest.raises(TrainingError, match=words):
        module.validation_step((image, label), 0)


def test_frozen_blocks_keep_their_start_and_the_rest_learns() -> None:
    settings = TrainingConfig(frozen_blocks=2, lovasz=0.5, boundary=1.0, loss='sigmoid')
    module = RoadTraining(FCN8(0.1, 'none'), settings)
    before = {name: p.detach().clone() for name, p in module.network.named_parameters()}
    optimizer = _optimizer(settings, module)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    labels = torch.randint(0, 2, (2, 64, 64))
    module.loss(module(images), images, labels).mean().backward()
    optimizer.step()
    for name, parameter in module.network.named_parameters():
        frozen = name.startswith('features') and int(name.split('.')[1]) < 10
        assert torch.equal(parameter, before[name]) == frozen, name


def _too_much() -> None:
    torch.empty(2**60)


@pytest.mark.parametrize(
    ('value', 'words'), [(NOT_ROAD, 'show no road'), (ROAD, 'show nothing but road')]
)
def test_a_fold_of_one_class_cannot_validate(
    kitti_like: Path, tmp_path: Path, capsys, value: int, words: str
) -> None:
    data = Path(shutil.copytree(kitti_like, tmp_path / 'data'))
    pairs = find_pairs(data)
    for pair in split_fold(pairs, 5, 4)[1]:
        write_label(pair.label_path, np.full_like(pair.read_label(), value))
    assert _train(data, tmp_path / 'run', 'epochs=1', 'validate_every=1') == 2
    assert f'from um_000008 on, {words}' in capsys.readouterr().err


def test_sigterm_ends_a_training_with_a_status(
    kitti_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    step = RoadTraining.training_step

    def stopped(*arguments: object) -> torch.Tensor:
        signal.raise_signal(signal.SIGTERM)
        return step(*arguments)

    monkeypatch.setattr(RoadTraining, 'training_step', stopped)
    assert _train(kitti_like, tmp_path, 'epochs=2', 'validate_every=1') == 143
    assert 'terminated; --resume goes on' in capsys.readouterr().err


def test_ctrl_c_ends_a_training_as_any_command(
    kitti_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, before = RoadTraining.training_step, signal.getsignal(signal.SIGINT)

    def stopped(*arguments: object) -> torch.Tensor:
        signal.raise_signal(signal.SIGINT)
        return step(*arguments)

    monkeypatch.setattr(RoadTraining, 'training_step', stopped)
    try:
        with pytest.raises(KeyboardInterrupt):
            _train(kitti_like, tmp_path, 'epochs=2', 'validate_every=1')
    finally:
        signal.signal(signal.SIGINT, before)  # Lightning ignores it from now on


def _cublas_refuses() -> None:
    raise RuntimeError(
        'CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`'
    )


@pytest.mark.parametrize('full', [_too_much, _cublas_refuses])
def test_out_of_memory_says_what_to_lower(
    kitti_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, full
) -> None:
    monkeypatch.setattr(RoadTraining, 'training_step', lambda *_: full())
    assert _train(kitti_like, tmp_path, 'epochs=1', 'validate_every=1') == 1
    error = capsys.readouterr().err
    assert 'error: out of memory' in error
    assert 'lower batch_size (now 6)' in error and 'input_width (64x192)' in error


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--teacher', '/no/teacher'], '--teacher FILE needs a setting imitation above 0'),
        (['--start', '', '--backbone', '/no'], '--start FILE has all weights already'),
        (['--start', '/no/model'], "'/no/model' does not exist"),
        (['--unlabelled', '/no/images'], '--unlabelled needs a --teacher'),
        (['imitation=0.5', '--teacher', '/no/teacher'], "'/no/teacher' does not exist"),
        (['epochs=0'], 'epochs must be at least 1'),
        (['imitation=0.5', 'loss=sigmoid'], 'imitation needs loss softmax'),
        (['folds=40', 'fold=1'], 'fold 1 of 40 has 30 images to train and 0 to validate'),
        (['--data', '/no/such/folder'], '/no/such/folder/training/image_2 does not exist'),
        (['--config', '/no/such.yaml'], 'cannot read the configuration /no/such.yaml'),
        (['--resume'], '--resume needs .*last.ckpt'),
        (
            ['--backbone', '/no/vgg.safetensors', 'backbone=imagenet_v1'],
            'cannot read the backbone',
        ),
    ],
)
def test_errors_are_one_line(
    kitti_like: Path, tmp_path: Path, capsys, arguments: list[str], words: str
) -> None:
    recipe = str(CONFIGS / 'compact.yaml')
    options = ['--config', recipe, '--data', str(kitti_like), '--out', str(tmp_path)]
    settings = [a for a in arguments if '=' in a]
    others = [a for a in arguments if '=' not in a]
    assert train.main([*options, *others, *SMALL, *settings]) == 2
    assert re.search(f'error: .*{words}', capsys.readouterr().err)


def test_seed_applies_l2_to_its_new_kernels_alone(kitti_like: Path) -> None:
    settings = config.read(CONFIGS / 'seed.yaml', ['width=0.1', 'backbone=random'])
    optimizer = _optimizer(settings)
    assert type(optimizer) is torch.optim.Adam
    decays = {g['weight_decay']: len(g['params']) for g in optimizer.param_groups}
    assert decays[1e-3] == 6  # three scores, three transposed convolutions
    assert {g['lr'] for g in optimizer.param_groups} == {1e-3}


def test_the_l2_term_is_in_the_gradient() -> None:
    settings = config.read(CONFIGS / 'seed.yaml', ['width=0.1', 'backbone=random'])
    module = RoadTraining(FCN8(0.1, 'none'), settings)
    with torch.no_grad():
        module.network.score7.weight.fill_(0.1)  # well above one step of Adam
    before = module.network.score7.weight.detach().clone()
    optimizer = _optimizer(settings, module)
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # no gradient but that of the L2 term: every weight shrinks
    assert (module.network.score7.weight.abs() < before.abs()).all()


def _optimizer(settings: TrainingConfig, module=None) -> torch.optim.Optimizer:
    module = module or RoadTraining(FCN8(0.1, 'none'), settings)
    return module.optimizer_and_schedule(steps=10)[0]


def test_poly_schedule_falls_to_zero() -> None:
    settings = TrainingConfig(schedule='poly', epochs=10, warmup_epochs=1.0, lr=1.0)
    module = RoadTraining(FCN8(0.1, 'none'), settings)
    factor = module.optimizer_and_schedule(steps=100)[1].lr_lambdas[0]
    assert factor(0) < 0.1
    assert factor(10) == pytest.approx(0.9**0.9)
    assert factor(50) == pytest.approx(0.5**0.9)
    assert factor(100) == 0.0


def test_a_constant_rate_warms_up_too() -> None:
    settings = TrainingConfig(schedule='constant', epochs=10, warmup_epochs=1.0)
    module = RoadTraining(FCN8(0.1, 'none'), settings)
    factor = module.optimizer_and_schedule(steps=100)[1].lr_lambdas[0]
    assert factor(0) < 0.1
    assert factor(10) == factor(99) == 1.0


def test_pixels_that_are_not_scored_do_not_train() -> None:
    module = RoadTraining(FCN8(0.1, 'none', dropout=0.0), TrainingConfig())
    module.log = lambda *args, **kwargs: None
    images = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    labels = torch.zeros(1, 32, 32, dtype=torch.long)
    labels[:, 16:] = NOT_SCORED
    plain = module.training_step((images, labels), 0)
    with torch.no_grad():
        logits = module(images)[:, :, :16]
    expected = torch.nn.functional.cross_entropy(logits, labels[:, :16])
    torch.testing.assert_close(plain, expected)
