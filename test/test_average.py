"""The average of two models is one network in the middle between them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from road_seg_ros import checkpoint
from road_seg_ros.checkpoint import ModelInfo, Normalization
from road_seg_ros.fcn8 import FCN8
from training import average, provenance


def _save(path: Path, seed: int, width: float = 0.05, **info: object) -> str:
    torch.manual_seed(seed)
    network = FCN8(width, 'none')
    checkpoint.save(path, network, dataclasses.replace(ModelInfo(network.architecture), **info))
    return str(path)


def test_weights_are_the_mean_and_the_last_says_the_rest(tmp_path: Path) -> None:
    before = _save(
        tmp_path / 'before.safetensors',
        1,
        data='sun',
        data_license='NC',
        threshold=0.2,
        seen=('b', 'a'),
    )
    after = _save(
        tmp_path / 'after.safetensors',
        2,
        data='rain',
        threshold=0.6,
        metrics={'max_f': 90.0},
        seen=('c', 'b'),
    )
    out = tmp_path / 'both.safetensors'
    assert average.main([before, after, '--out', str(out), '--temperature', '1.5']) == 0
    network, info = checkpoint.load(out)
    states = [checkpoint.load(path)[0].state_dict() for path in (before, after)]
    assert not torch.equal(states[0]['score3.weight'], states[1]['score3.weight'])
    for name, weights in network.state_dict().items():
        mean = (states[0][name] + states[1][name]) / 2
        torch.testing.assert_close(weights, mean, atol=1e-4, rtol=1e-3)  # float16
    assert (info.threshold, info.temperature, info.metrics) == (0.6, 1.5, {})
    assert info.data_license == 'NC'
    assert info.seen == ('a', 'b', 'c')
    assert info.data == 'average of before.safetensors (sun), after.safetensors (rain)'


def test_scores_go_into_the_file(tmp_path: Path, capsys) -> None:
    models = [_save(tmp_path / f'{seed}.safetensors', seed) for seed in (1, 2)]
    out, report = tmp_path / 'out.safetensors', tmp_path / 'report.json'
    report.write_text('{"perspective": {"urban": {"max_f": 95.5, "iou": 91.0}}, "images": 47}')
    assert average.main([*models, '--out', str(out), '--scores', str(report)]) == 0
    assert checkpoint.load_info(out).metrics == {'max_f': 95.5, 'iou': 91.0, 'images': 47}
    out.unlink()
    for text in ('[]', '{"perspective": null}', 'nonsense'):
        report.write_text(text)
        assert average.main([*models, '--out', str(out), '--scores', str(report)]) == 2
        assert not out.exists()
        assert f'{report} is no report of training.evaluate --json' in capsys.readouterr().err


def test_one_model_may_get_scores_or_a_threshold_and_nothing_else(tmp_path: Path) -> None:
    model = _save(tmp_path / 'one.safetensors', 1, data='sun', data_license='NC')
    out, report = tmp_path / 'out.safetensors', tmp_path / 'report.json'
    report.write_text('{"perspective": {"urban": {"max_f": 95.5}}, "images": 47}')
    assert average.main([model, '--out', str(out), '--scores', str(report)]) == 0
    (network, info), (same, before) = checkpoint.load(out), checkpoint.load(model)
    assert (info.data, info.threshold) == ('sun', before.threshold)
    assert info.metrics == {'max_f': 95.5, 'images': 47}
    for name, weights in network.state_dict().items():
        assert torch.equal(weights, same.state_dict()[name]), name
    assert average.main([model, '--out', str(out), '--threshold', '0.7']) == 0
    assert checkpoint.load_info(out).threshold == 0.7


@pytest.mark.parametrize(
    ('other', 'data', 'kept'),
    [
        ((5, 4), 'own', (5, 4)),
        ((5, 3), 'own', (0, -1)),
        ((0, -1), 'own', (0, -1)),
        ((0, -1), 'KITTI Road', (5, 4)),  # it has not seen these images at all
    ],
)
def test_a_fold_is_held_out_only_where_no_model_has_seen_it(
    tmp_path: Path, other: tuple[int, int], data: str, kept: tuple[int, int]
) -> None:
    models = [
        _save(
            tmp_path / f'{name}{fold}.safetensors',
            fold + 1,
            training={'folds': folds, 'fold': fold},
            data=f'{name}: 9 images for training; and more',
        )
        for name, (folds, fold) in ((data, other), ('own', (5, 4)))
    ]
    training = average.average(models)[1].training
    assert provenance.fold_of(training) == kept
    both = average.average(models)[1]
    assert provenance.data_names(both) == {data, 'own'}


@pytest.mark.parametrize(
    ('second', 'words'),
    [
        ({'width': 0.1}, "has the architecture {'width': 0.05"),
        ({'normalization': Normalization(mean=(0.5, 0.5, 0.5))}, 'has the normalization'),
        (None, 'give two models or more'),
    ],
)
def test_what_has_no_mean_is_refused(tmp_path: Path, capsys, second, words: str) -> None:
    models = [_save(tmp_path / 'one.safetensors', 1)]
    if second is not None:
        models.append(_save(tmp_path / 'two.safetensors', 2, **second))
    out = tmp_path / 'out.safetensors'
    assert average.main([*models, '--out', str(out)]) == 2
    assert words in capsys.readouterr().err
    assert not out.exists()
