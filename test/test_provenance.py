"""A model knows which images it has seen, whatever they are called now."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from road_seg_ros import checkpoint
from road_seg_ros.checkpoint import ModelInfo
from road_seg_ros.fcn8 import FCN8
from training import provenance
from training.config import TrainingConfig
from training.kitti_road import Pair, find_pairs, split_fold
from training.provenance import Files, split_as_trained, warn_of_seen_images

SPLIT = {'folds': 5, 'fold': 4}


def trained_on(pairs: list[Pair], **info: object) -> ModelInfo:
    """Return the info of a model that held out fold 4 of 5."""
    training, _ = split_fold(pairs, **SPLIT)
    return ModelInfo({}, training=SPLIT, seen=tuple(map(provenance.image_id, training)), **info)


def renamed(data: Path, out: Path, keep: int) -> list[Pair]:
    """Return the first images of each category, as another folder with other names."""
    for pair in find_pairs(data):
        if pair.number < keep:
            for kind, path, name in (
                ('image_2', pair.image_path, f'own_{pair.category}_{pair.number}'),
                ('gt_image_2', pair.label_path, f'own_{pair.category}_road_{pair.number}'),
            ):
                (out / 'training' / kind).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, out / 'training' / kind / f'{name}{path.suffix}')
    return find_pairs(out)


def why(pairs: list[Pair], info: ModelInfo) -> str:
    """Return what is said of the parts of a model's training, found again in these images."""
    return provenance.why_scores_flatter(info, *split_as_trained(pairs, info))


def test_what_was_held_out_is_known_under_other_names(kitti_like: Path, tmp_path: Path) -> None:
    pairs = find_pairs(kitti_like)
    info = trained_on(pairs)
    assert split_as_trained(pairs, info) == split_fold(pairs, **SPLIT)
    assert why(pairs, info) == why(renamed(kitti_like, tmp_path, 10), info) == ''


def test_a_fold_of_fewer_images_is_not_what_was_held_out(kitti_like: Path, tmp_path: Path) -> None:
    info = trained_on(find_pairs(kitti_like))
    said = why(renamed(kitti_like, tmp_path, 8), info)
    assert 'of its 3 images the model, or one that it learned from, was trained on 3' in said
    assert 'own_um_7 first' in said


def test_other_files_may_hold_the_same_images(kitti_like: Path) -> None:
    pairs = find_pairs(kitti_like)
    assert 'none of these files' in why(
        pairs, ModelInfo({}, training=SPLIT, seen=('0123456789ab',))
    )


def test_an_older_file_is_believed(kitti_like: Path) -> None:
    pairs = find_pairs(kitti_like)
    assert why(pairs, ModelInfo({}, training=SPLIT)) == ''
    for folds, fold in ((0, -1), (5, -1), ('5', 1), (5, '1'), (-3, 1), (2, 2), (True, 0)):
        info = ModelInfo({}, training={'folds': folds, 'fold': fold})
        assert split_as_trained(pairs, info) is None


def save(path: Path, info: ModelInfo) -> str:
    """Save a model of that description."""
    checkpoint.save(path, FCN8(0.05, 'none'), info)
    return str(path)


@pytest.mark.parametrize(
    ('fold', 'seen'), [(4, None), (3, '6 of the 6 images'), (-1, '24 of the 30 images')]
)
def test_images_that_validate_and_were_seen_are_counted(
    kitti_like: Path, tmp_path: Path, caplog, fold: int, seen: str | None
) -> None:
    pairs = find_pairs(kitti_like)
    start = save(tmp_path / 'start.safetensors', trained_on(pairs))
    files = Files(kitti_like, tmp_path, start=start)
    with caplog.at_level(logging.WARNING, 'training'):
        warn_of_seen_images(TrainingConfig(folds=5, fold=fold), files, pairs)
    assert caplog.text.count('--start was trained on') == (seen is not None)
    assert (seen or '') in caplog.text


def test_an_older_file_warns_by_name_where_its_data_are_among_others(
    kitti_like: Path, tmp_path: Path, caplog
) -> None:
    both = Path(shutil.copytree(kitti_like, tmp_path / 'both'))
    renamed(kitti_like, both, 2)
    older = ModelInfo({}, training={'folds': 0}, data='KITTI Road: 30 images for training')
    files = Files(both, tmp_path, start=save(tmp_path / 'older.safetensors', older))
    with caplog.at_level(logging.WARNING, 'training'):
        warn_of_seen_images(TrainingConfig(folds=5, fold=4), files, find_pairs(both))
    assert '--start was trained on other folds of these images' in caplog.text


def test_a_model_has_seen_what_its_parents_saw(kitti_like: Path, tmp_path: Path) -> None:
    pairs = find_pairs(kitti_like)
    teacher = save(tmp_path / 'teacher.safetensors', ModelInfo({}, seen=('0123456789ab',)))
    files = Files(kitti_like, tmp_path, teacher=teacher)
    seen = provenance.seen_by(TrainingConfig(), files, pairs[:2])
    assert list(seen) == sorted(['0123456789ab', *map(provenance.image_id, pairs[:2])])


@pytest.mark.parametrize('fold', [3, 4])
def test_what_an_older_model_saw_is_known_by_name_in_those_that_learned_from_it(
    kitti_like: Path, tmp_path: Path, caplog, fold: int
) -> None:
    older = ModelInfo({}, training=SPLIT, data='KITTI Road: 24 images for training')
    settings = TrainingConfig(folds=5, fold=fold)
    files = Files(kitti_like, tmp_path, start=save(tmp_path / 'older.safetensors', older))
    seen = provenance.seen_by(settings, files, [])
    assert seen == (() if fold == 4 else ('KITTI Road',))  # it held out fold 4
    child = save(tmp_path / 'child.safetensors', ModelInfo({}, training={'folds': 0}, seen=seen))
    files = Files(kitti_like, tmp_path, start=child)
    with caplog.at_level(logging.WARNING, 'training'):
        warn_of_seen_images(settings, files, find_pairs(kitti_like))
    assert ('trained on other folds of these images' in caplog.text) == (fold == 3)
