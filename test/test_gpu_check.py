"""The check for a GPU runs here, small, and would notice what is wrong."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from road_seg_ros.checkpoint import InputSize, ModelInfo
from road_seg_ros.engines import cuda_engine, pixel_pipeline
from road_seg_ros.engines.frame_buffers import Inputs
from road_seg_ros.fcn8 import FCN8
from training import gpu_check, gpu_correctness, gpu_speed, gpu_training
from training.gpu_correctness import Subject
from training.gpu_report import FULL, Check, Finding, guarded

ROOT = Path(__file__).resolve().parent.parent
CHECK = [sys.executable, '-m', 'training.gpu_check']


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    environment.pop('_ROS_WHEELS_BOOTSTRAP_COMPLETE', None)
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )


def test_the_whole_check_runs_small_on_a_cpu(tmp_path: Path) -> None:
    out = tmp_path / 'report'
    result = run(*CHECK, '--out', str(out), '--device', 'cpu')
    assert result.returncode == 0, result.stdout + result.stderr
    report = json.loads((out / 'gpu_check.json').read_text())
    assert list(report['findings']) == list(gpu_check.PARTS)
    findings = [finding for part in report['findings'].values() for finding in part]
    assert len(findings) > 40
    assert report['passed']
    assert not any('left out' in finding['found'] for finding in findings)
    assert report['figures'][FULL]['frames_per_s'] > 0
    assert report['figures']['seed recipe']['epoch_s'] > 0
    assert report['cut_short'] == []
    text = (out / 'gpu_check.md').read_text()
    assert 'cut short' not in text
    for part in gpu_check.PARTS:
        assert f'## {part}\n' in text
    assert 'all passed' in result.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a CUDA GPU')
def test_without_a_gpu_it_is_one_line(tmp_path: Path, capsys) -> None:
    assert gpu_check.main(['--out', str(tmp_path / 'report')]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert 'finds no CUDA GPU here; run this where there is one' in lines[0]
    assert not (tmp_path / 'report').exists()


def test_a_model_that_is_not_there_is_one_line(tmp_path: Path, capsys) -> None:
    arguments = ['--device', 'cpu', '--out', str(tmp_path), '--model', 'no.safetensors']
    assert gpu_check.main(arguments) == 2
    assert "error: model file 'no.safetensors' does not exist" in capsys.readouterr().err


WITHOUT = """
import sys
from pathlib import Path

for name in {missing!r}:
    sys.modules[name] = None
from training import gpu_check

gpu_check.PARTS = {{name: gpu_check.PARTS[name] for name in ('Correctness', 'Training')}}
sys.exit(gpu_check.main(['--device', 'cpu', '--out', {out!r}]))
"""
MISSING = ['rclpy', 'sensor_msgs', 'openvino', 'lightning', 'yaml', 'matplotlib', 'onnx', 'tqdm']


def test_without_lightning_and_ros_all_but_training_is_checked(tmp_path: Path) -> None:
    result = run(sys.executable, '-c', WITHOUT.format(missing=MISSING, out=str(tmp_path)))
    assert result.returncode == 0, result.stderr
    findings = json.loads((tmp_path / 'gpu_check.json').read_text())['findings']
    assert len(findings['Correctness']) > 15
    assert findings['Training'][0]['found'].startswith('left out: ')


# It would notice


@pytest.fixture(scope='module')
def subject() -> Subject:
    torch.manual_seed(0)
    network = FCN8(width=0.05, head='none').eval()
    info = ModelInfo({}, InputSize(64, 96), threshold=0.44)  # some road, and some not
    return Subject(network, info, torch.device('cpu'), ('fp32',), ((60, 90), (70, 80)), 3)


def half_a_pixel_off(log_odds: torch.Tensor, size: torch.Size) -> torch.Tensor:
    probability = torch.sigmoid(20 * log_odds)[None, None]
    return torch.nn.functional.interpolate(probability, tuple(size), mode='nearest')[0, 0]


def always_the_first_size(engine, slot, layout):
    return next(iter(slot.plans.values()), None) or plan(engine, slot, layout)


def deaf_to_the_threshold(inputs: Inputs, image, wanted) -> None:
    write(inputs, image, cuda_engine.Wanted(0.5, wanted.confidence, wanted.tint))


plan, write = cuda_engine.CudaEngine._plan, Inputs.write


@pytest.mark.parametrize(
    ('owner', 'name', 'broken', 'words'),
    [
        (pixel_pipeline, 'road_probability', half_a_pixel_off, 'confidence and mask, fp32'),
        (pixel_pipeline.PixelPipeline, '_draw_overlay', lambda *_: None, 'overlay'),
        (cuda_engine.CudaEngine, '_plan', always_the_first_size, 'changing sizes'),
        (Inputs, 'write', deaf_to_the_threshold, 'threshold, changed live'),
        (cuda_engine, 'UNDER_WAY', 1, 'two under way'),
        (cuda_engine.math, 'isfinite', lambda _: True, 'nan in the network'),
        (pixel_pipeline, 'HEADROOM', 1 / 64, 'beyond float16'),
    ],
)
def test_what_is_broken_is_found(
    subject: Subject, monkeypatch: pytest.MonkeyPatch, owner, name: str, broken, words: str
) -> None:
    monkeypatch.setattr(owner, name, broken)
    failed = [f.what for f in gpu_correctness.check_all(subject) if f.passed is False]
    assert any(words in what for what in failed), failed


def test_a_part_that_raises_is_a_finding_and_the_others_go_on(tmp_path: Path, capsys) -> None:
    def breaks(_: Check) -> Iterator[Finding]:
        yield Finding('before', 'good', passed=True)
        raise RuntimeError('CUDA error: too hot\nand more')

    def works(_: Check) -> Iterator[Finding]:
        yield Finding('after', 'good', passed=True)

    check = Check(torch.device('cpu'), gpu_check.ON_CPU, {}, None, tmp_path)
    check.run({'breaks': breaks, 'works': works})
    assert not check.passed
    report = json.loads((tmp_path / 'gpu_check.json').read_text())
    assert [f['passed'] for f in report['findings']['breaks']] == [True, False]
    assert report['findings']['breaks'][1]['found'] == 'RuntimeError: CUDA error: too hot'
    assert report['findings']['works'][0]['passed']
    assert 'FAIL  breaks: RuntimeError: CUDA error: too hot' in capsys.readouterr().out


def test_a_check_that_is_cut_short_has_not_passed_and_leaves_what_it_found(
    tmp_path: Path,
) -> None:
    def works(_: Check) -> Iterator[Finding]:
        yield Finding('first', 'good', passed=True)

    def is_killed(_: Check) -> Iterator[Finding]:
        yield Finding('second', 'good', passed=True)
        raise KeyboardInterrupt

    check = Check(torch.device('cpu'), gpu_check.ON_CPU, {}, None, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        check.run({'works': works, 'is killed': is_killed, 'never begins': works})
    report = json.loads((tmp_path / 'gpu_check.json').read_text())
    assert (report['passed'], report['cut_short']) == (False, ['is killed', 'never begins'])
    assert [finding['what'] for finding in report['findings']['is killed']] == ['second']
    text = (tmp_path / 'gpu_check.md').read_text()
    assert '- **cut short**, without all of is killed, never begins' in text


def test_an_error_of_a_worker_is_told_by_its_last_line() -> None:
    def fails() -> Iterator[Finding]:
        raise RuntimeError(
            'Caught RuntimeError in DataLoader worker process 6.\nOriginal Traceback ...\n'
            'RuntimeError: unable to allocate shared memory(shm)\n'
        )
        yield

    [finding] = guarded('data', fails)
    assert finding.found == 'RuntimeError: RuntimeError: unable to allocate shared memory(shm)'


def test_what_is_logged_after_a_training_goes_where_it_went_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(logging.root, 'handlers', [])
    for run in ('first', 'second'):
        with contextlib.suppress(RuntimeError):
            with open(tmp_path / 'log', 'a') as log, gpu_training.quiet(log):
                logging.basicConfig(level=logging.INFO, format='%(message)s')  # as training does
                logging.getLogger('training').info(run)
                raise RuntimeError('CUDA error')  # a run that fails ends as one that does not
    logging.getLogger('training').warning('later')
    assert (tmp_path / 'log').read_text() == 'first\nsecond\n'
    assert 'Logging error' not in capsys.readouterr().err


@pytest.mark.parametrize(
    ('ms', 'frames_per_s', 'passed'),
    [(0.5, 2500.0, [True, True, True]), (1.5, 1500.0, [False, False, False])],
)
def test_targets_are_judged(ms: float, frames_per_s: float, passed: list[bool]) -> None:
    taken = {
        gpu_speed.BARE: gpu_speed.Durations.of([0.4]),
        gpu_speed.MASK: gpu_speed.Durations.of([ms]),
        gpu_speed.CONFIDENCE: gpu_speed.Durations.of([ms]),
    }
    findings = list(gpu_speed._judge_speed(taken, {}, frames_per_s))
    assert [f.passed for f in findings if f.passed is not None] == passed
