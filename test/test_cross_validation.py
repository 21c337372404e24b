"""The folds of a cross-validation are put together, also where they are few."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from training.cross_validation import as_markdown, folder_of_fold, summarise
from training.kitti_road import find_pairs
from training.out_folder import model_file


def test_a_category_in_one_fold_alone_has_a_mean_and_no_spread(
    kitti_like: Path, tiny_model: Path, tmp_path: Path
) -> None:
    pairs = find_pairs(kitti_like)
    few = [pair for pair in pairs if pair.category == 'um'][:2]
    few += [pair for pair in pairs if pair.category == 'uu'][:1]
    for fold in range(2):
        model = model_file(folder_of_fold(tmp_path, fold))
        model.parent.mkdir()
        shutil.copy(tiny_model, model)
    summary = summarise(tmp_path, few, 2)
    text = (tmp_path / 'cross_validation.json').read_text()
    assert json.loads(text) == summary
    assert 'NaN' not in text
    mean, spread = (summary[key]['perspective'] for key in ('mean', 'standard_deviation'))
    assert [fold['images'] for fold in summary['folds']] == [2, 1]
    assert spread['uu'] == {'max_f': None, 'avg_precision': None, 'iou': None, 'ece': None}
    assert spread['um']['max_f'] >= 0
    um = f'{mean["um"]["max_f"]:.2f} ± {spread["um"]["max_f"]:.2f}'
    for row in (f'| uu | {mean["uu"]["max_f"]:.2f} | ', f'| um | {um} | '):
        assert row in as_markdown(summary)
