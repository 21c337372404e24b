"""What a model learns from: said in its file, with the licences and folds that follow from it."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from road_seg_ros import checkpoint
from road_seg_ros.checkpoint import ModelInfo
from road_seg_ros.image_files import list_files
from training import licenses
from training.config import TrainingConfig
from training.kitti_road import IMAGE_SUFFIXES, Pair, has_kitti, is_kitti_name

# A name as `describe` writes it, alone or in the brackets of an average's description.
DATA_NAME = re.compile(r'(?:^|\()([^():]+): \d+ images for training')

log = logging.getLogger('training')


@dataclasses.dataclass(frozen=True)
class Files:
    """What a run reads beside its settings, and where it writes."""

    data: Path
    out: Path
    backbone: Path | None = None
    start: str | None = None  # as `checkpoint.find` takes it
    teacher: str | None = None  # likewise
    unlabelled: Path | None = None


def describe(
    settings: TrainingConfig,
    files: Files,
    train_pairs: Sequence[Pair],
    val_pairs: Sequence[Pair],
    others: int,
) -> str:
    """Return what a model learns from, for its file; others: images without KITTI's labels."""
    parts = [
        f'{_data_name(files, train_pairs)}: {len(train_pairs)} images for training',
        f'{len(val_pairs)} (fold {settings.fold} of {settings.folds}) for validation'
        if val_pairs
        else 'none for validation',
        f'{settings.synthetic} synthetic scenes for training',
        f'{others - settings.synthetic} unlabelled images',
        'from '
        + (settings.backbone if files.start is None else checkpoint.find(files.start).name),
        f'teacher {checkpoint.find(files.teacher).name}' if files.teacher else 'no teacher',
    ]
    return '; '.join(parts)


def names(files: Files, description: str) -> list[str]:
    """Return what tells the data and models of one run from those of another."""
    models = [
        f'{Path(model).name} {checkpoint.read(model).digest()[:8]}'
        for model in (files.start, files.teacher)
        if model is not None
    ]
    return [description, *models, *([files.unlabelled.name] if files.unlabelled else [])]


def license_of(files: Files, train_pairs: Sequence[Pair]) -> str:
    """Return the licences of the images, and of the models, that a model learns from."""
    unlabelled = list_files(files.unlabelled, IMAGE_SUFFIXES) if files.unlabelled else ()
    is_kitti = has_kitti(train_pairs) or any(is_kitti_name(path.stem) for path in unlabelled)
    own = licenses.KITTI if is_kitti else ''
    return licenses.combined([*(info.data_license for info in _parents(files).values()), own])


def warn_of_seen_images(settings: TrainingConfig, files: Files, pairs: Sequence[Pair]) -> None:
    """Say so if a model that a run learns from may have learned from what validates in it."""
    if not settings.folds:
        return
    name, fold = _data_name(files, pairs), (settings.folds, settings.fold)
    for option, info in _parents(files).items():
        if name in data_names(info) and fold_of(info.training) != fold:
            log.warning(
                '%s was trained on other folds of these images: it has seen some that validate '
                'here, and scores and threshold will flatter',
                option,
            )


def data_names(info: ModelInfo) -> set[str]:
    """Return the names of the labelled data that a model, or those it is the mean of, saw."""
    return set(DATA_NAME.findall(info.data))


def fold_of(training: Mapping[str, Any]) -> tuple[int, int]:
    """Return `folds` and `fold` of a run's settings; (0, -1) where nothing was held out."""
    return training.get('folds', 0), training.get('fold', -1)


def _data_name(files: Files, pairs: Sequence[Pair]) -> str:
    is_kitti = all(pair.is_kitti for pair in pairs)
    own = re.sub('[():]', '_', files.data.resolve().name)  # see DATA_NAME
    return 'KITTI Road' if is_kitti else own


def _parents(files: Files) -> dict[str, ModelInfo]:
    """Return what is known of the models that a run learns from, by option."""
    options = {'--start': files.start, '--teacher': files.teacher}
    return {
        option: checkpoint.load_info(model)
        for option, model in options.items()
        if model is not None
    }
