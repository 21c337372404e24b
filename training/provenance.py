"""What a model learns from: said in its file, with the licences and folds that follow from it."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from road_seg_ros import checkpoint
from road_seg_ros.checkpoint import ModelInfo
from road_seg_ros.image_files import IMAGE_SUFFIXES, list_files
from training import licenses
from training.config import ConfigError, TrainingConfig
from training.kitti_road import (
    Pair,
    has_kitti,
    is_kitti_name,
    split_fold,
)

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


def origins(
    files: Files, train_pairs: Sequence[Pair], val_pairs: Sequence[Pair]
) -> dict[str, str]:
    """Return what tells the data and models of one run from those of another, by kind."""
    found = {}
    for part, pairs in (('training', train_pairs), ('validation', val_pairs)):
        found[f'{part} images'] = _digest([pair.image_path for pair in pairs])
        found[f'{part} labels'] = _digest([pair.label_path for pair in pairs])
    for option, model in (('--start', files.start), ('--teacher', files.teacher)):
        if model is not None:
            found[f'{option} model'] = checkpoint.read(model).digest()[:12]
    if files.unlabelled:
        found['unlabelled images'] = _digest(list_files(files.unlabelled, IMAGE_SUFFIXES))
    return found


def require_same_run(
    info: ModelInfo,
    settings: TrainingConfig,
    files: Files,
    train_pairs: Sequence[Pair],
    val_pairs: Sequence[Pair],
    others: int,
) -> None:
    """Raise ConfigError if a finished model was made with other settings, images or models."""
    settings.require_same_as(info.training)
    data = describe(settings, files, train_pairs, val_pairs, others)
    if info.data != data or info.seen != seen_by(settings, files, train_pairs):
        raise ConfigError(
            f'--resume: the model in {files.out} is of other data: {info.data}, and not {data}'
        )


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
    validating = pairs  # each in one of the folds
    if settings.fold >= 0:
        validating = split_fold(pairs, settings.folds, settings.fold)[1]
    same_data = {_data_name(files, pairs), *(('KITTI Road',) if has_kitti(pairs) else ())}
    for option, info in _parents(files).items():
        known = seen_together([info], (settings.folds, settings.fold))
        if seen := seen_among(validating, known):
            some = f'{len(seen)} of the {len(validating)} images that validate here'
        elif same_data & known:
            some = 'other folds of these images, so on some that validate here'
        else:
            continue
        log.warning('%s was trained on %s: scores and threshold will flatter', option, some)


def image_id(pair: Pair) -> str:
    """Return what tells an image from others, whatever it is called: a digest of its file."""
    return hashlib.blake2b(pair.image_path.read_bytes(), digest_size=6).hexdigest()


def seen_among(pairs: Sequence[Pair], seen: Iterable[str]) -> list[Pair]:
    """Return those of the images whose id is among the seen ones."""
    known = frozenset(seen)
    return [pair for pair in pairs if image_id(pair) in known] if known else []


def seen_by(
    settings: TrainingConfig, files: Files, train_pairs: Sequence[Pair]
) -> tuple[str, ...]:
    """Return what a model, or one it learns from, is trained on, for its file."""
    fold = (settings.folds, settings.fold)
    before = seen_together(_parents(files).values(), fold)
    return tuple(sorted(before | {image_id(pair) for pair in train_pairs}))


def seen_together(infos: Iterable[ModelInfo], fold: tuple[int, int]) -> set[str]:
    """
    Return what any of these models was trained on: ids of images, and names of data.

    A name stands for data of which an older file does not say which images it saw, if these were
    not the images of this fold (folds, fold).
    """
    seen: set[str] = set()
    for info in infos:
        seen.update(info.seen)
        if not info.seen and fold_of(info.training) != fold:
            seen |= data_names(info)
    return seen


def split_as_trained(
    pairs: Sequence[Pair], info: ModelInfo
) -> tuple[list[Pair], list[Pair]] | None:
    """Split into what a model was trained and validated on; None if it validated on nothing."""
    folds, fold = fold_of(info.training)
    return split_fold(pairs, folds, fold) if folds else None


def why_scores_flatter(
    info: ModelInfo, training: Sequence[Pair], validation: Sequence[Pair]
) -> str:
    """
    Return why the parts of `split_as_trained` are not those of a model's training, or ''.

    They are others if images were added or left out since, and if the model went on from one that
    had learned from all of them.
    """
    if not info.seen:  # an older file does not say
        return ''
    if seen := seen_among(validation, info.seen):
        return (
            f'of its {len(validation)} images the model, or one that it learned from, was trained '
            f'on {len(seen)}, {seen[0].name} first: scores flatter'
        )
    if not seen_among(training, info.seen):
        return 'none of these files is one of its training, so it may have seen the same as others'
    return ''


def data_names(info: ModelInfo) -> set[str]:
    """Return the names of the labelled data that a model, or those it is the mean of, saw."""
    return set(DATA_NAME.findall(info.data))


def fold_of(training: Mapping[str, Any]) -> tuple[int, int]:
    """Return `folds` and `fold` of a run's settings; (0, -1) where nothing was held out."""
    folds, fold = training.get('folds', 0), training.get('fold', -1)
    held_out = type(folds) is type(fold) is int and 0 <= fold < folds
    return (folds, fold) if held_out else (0, -1)


def _digest(paths: Sequence[Path]) -> str:
    digest = hashlib.blake2b(digest_size=6)
    for path in paths:
        digest.update(hashlib.blake2b(path.read_bytes()).digest())
    return f'{len(paths)} with digest {digest.hexdigest()}'


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
