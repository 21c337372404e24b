"""The summary tells what the logs hold, over a stop too."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import pytest

from training import summary


@pytest.fixture
def run(tmp_path: Path) -> Path:
    logs = {
        0: 'epoch,loss_epoch,max_f,iou\n0,,50,40\n0,2.0,,\n1,,60,50\n1,1.5,,\n2,9.9,,\n',
        1: 'epoch,loss_epoch,max_f,iou\n2,,70,60\n2,1.0,,\n3,,80,70\n3,0.5,,\n',
    }
    for version, text in logs.items():
        folder = tmp_path / 'csv' / f'version_{version}'
        folder.mkdir(parents=True)
        (folder / 'metrics.csv').write_text(text)
    return tmp_path


def test_a_resumed_run_is_one_run(run: Path) -> None:
    epochs = summary.read_epochs(run)
    assert list(epochs) == [1, 2, 3, 4]
    assert [values['loss_epoch'] for values in epochs.values()] == [2.0, 1.5, 1.0, 0.5]
    assert epochs[3] == {'loss_epoch': 1.0, 'max_f': 70.0, 'iou': 60.0}


def test_the_table_has_the_last_epoch(run: Path) -> None:
    lines = summary.table(summary.read_epochs(run), rows=2).splitlines()
    assert [line.split('|')[1].strip() for line in lines] == ['epoch', '---', '2', '4']
    assert len({line.count('|') for line in lines}) == 1


@pytest.mark.parametrize('options', [[], ['--published']])
def test_curves_are_drawn(run: Path, options: list[str], capsys) -> None:
    assert summary.main([str(run), *options]) == 0
    picture = cv2.imread(str(run / 'curves.png'))
    assert picture.shape == (450, 800, 3)
    assert picture.std() > 10
    assert '| 4 | 0.5 | 80 | 70 |' in capsys.readouterr().out


def test_a_folder_without_a_run_is_an_error(tmp_path: Path, capsys) -> None:
    assert summary.main([str(tmp_path)]) == 2
    assert 'holds no csv' in capsys.readouterr().err


def test_a_cross_validation_names_its_folds(run: Path, tmp_path: Path, capsys) -> None:
    whole = tmp_path / 'whole'
    for fold in range(2):
        shutil.copytree(run / 'csv', whole / f'fold{fold}' / 'csv')
    assert summary.main([str(whole)]) == 2
    assert f'; there are {whole}/fold0, {whole}/fold1' in capsys.readouterr().err


def test_other_folders_beside_the_logs_do_not_matter(run: Path) -> None:
    before = summary.read_epochs(run)
    shutil.copytree(run / 'csv' / 'version_0', run / 'csv' / 'version_0 (copy)')
    assert summary.read_epochs(run) == before


@pytest.mark.parametrize('text', ['epoch,max_f\n,50\n', 'max_f\n50\n', 'epoch,max_f\n1,good\n'])
def test_what_is_no_log_is_named(run: Path, capsys, text: str) -> None:
    log = run / 'csv' / 'version_1' / 'metrics.csv'
    log.write_text(text)
    assert summary.main([str(run)]) == 2
    assert f'error: {log} is no log of a run' in capsys.readouterr().err


def test_curves_that_cannot_be_written_are_one_line(run: Path, capsys) -> None:
    (run / 'curves.png').mkdir()
    assert summary.main([str(run)]) == 2
    assert 'curves.png' in capsys.readouterr().err
