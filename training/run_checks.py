"""What is looked at before a training starts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from road_seg_ros import checkpoint
from road_seg_ros.checkpoint import ModelInfo
from road_seg_ros.image_files import SourceError
from road_seg_ros.metrics import NOT_ROAD, ROAD
from training import cross_validation
from training.config import ConfigError, TrainingConfig
from training.dataset import Sample
from training.kitti_road import Pair, split_fold
from training.out_folder import holds_run, last_checkpoint
from training.process import Process
from training.provenance import Files

log = logging.getLogger('training')


def check_arguments(settings: TrainingConfig, files: Files, resume: bool) -> None:
    """Refuse models, folders and settings that do not go together. ConfigError or SourceError."""
    folders = [files.out]
    if settings.fold < 0:
        folders += [cross_validation.folder_of_fold(files.out, f) for f in range(settings.folds)]
    if resume and not any(map(holds_run, folders)):
        raise ConfigError(f'--resume needs {last_checkpoint(folders[-1])}, and there is none')
    if not resume and any(map(holds_run, folders)):
        raise ConfigError(
            f'{files.out} already holds a run; --resume continues it, or choose another'
        )
    processes = Process.of_environment().world_size
    if settings.batch_size % processes:
        raise ConfigError(
            f'batch_size must be a multiple of the {processes} processes, got '
            f'{settings.batch_size}'
        )
    if files.start is not None and files.backbone:
        raise ConfigError('--start FILE has all weights already; leave out --backbone')
    if files.start is not None:
        checkpoint.find(files.start)
    if files.teacher and not settings.imitation:
        raise ConfigError('--teacher FILE needs a setting imitation above 0')
    if files.teacher:
        _check_teacher(checkpoint.load_info(files.teacher), settings)
    if files.unlabelled and not files.teacher:
        raise ConfigError('--unlabelled needs a --teacher to say where the road is')
    if files.unlabelled and not files.unlabelled.is_dir():
        raise SourceError(f'--unlabelled {files.unlabelled} is not a folder')


def check_folds(settings: TrainingConfig, pairs: Sequence[Pair]) -> None:
    """Refuse folds that leave nothing to train on, or a process nothing to validate."""
    needed = Process.of_environment().world_size
    for fold in settings.validation_folds:
        training, validation = split_fold(pairs, settings.folds, fold)
        if not training or len(validation) < needed:
            raise SourceError(
                f'fold {fold} of {settings.folds} has {len(training)} images to train and '
                f'{len(validation)} to validate, and {needed} at least must validate; set fewer '
                'folds, or label more images'
            )


def check_validation(settings: TrainingConfig, samples: Mapping[Pair, Sample]) -> None:
    """Refuse a fold without any road, or without anything else: no threshold can be chosen."""
    for fold in settings.validation_folds:
        validation = split_fold(list(samples), settings.folds, fold)[1]
        for value, lack in ((ROAD, 'no road'), (NOT_ROAD, 'nothing but road')):
            if not any(np.any(samples[pair][1] == value) for pair in validation):
                raise SourceError(
                    f'the {len(validation)} images of fold {fold} of {settings.folds}, from '
                    f'{validation[0].name} on, show {lack}, so they cannot validate; set fewer '
                    'folds'
                )


def _check_teacher(teacher: ModelInfo, settings: TrainingConfig) -> None:
    """Say so where a teacher sees fewer pixels than it has learned to see."""
    own, here = teacher.input, settings.input_size
    if here.height * here.width < 0.8 * own.height * own.width:
        log.warning(
            'the teacher has learned at %dx%d and knows less at %dx%d, the size of this network: '
            'set input_height and input_width to its own, or take another teacher',
            *(own.height, own.width, here.height, here.width),
        )
