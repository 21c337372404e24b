"""
Train the network on KITTI Road and write a model file.

    python -m training.train --config training/configs/kitti.yaml --data KITTI_DIR --out DIR
    python -m training.train ... --backbone vgg16_features.safetensors   # instead of downloading
    python -m training.train ... --teacher full.safetensors imitation=0.7   # imitate a model
    python -m training.train ... --start model.safetensors               # go on from a ready model
    python -m training.train ... epochs=12 lr=1e-4                       # any setting
    python -m training.train ... folds=5                                 # cross-validation
    python -m training.train ... --resume                                # go on after a stop
    torchrun --nproc-per-node 4 -m training.train ...                    # several GPUs

DIR gets model.safetensors (the last epoch), csv/version_N/metrics.csv, curves.png, tensorboard/
and checkpoints/last.ckpt, from which --resume continues. Where the last epochs fine-tune, all but
the model are of the epochs before these; fine_tuning/ is such a folder too, and model.safetensors
the average of its model and before_fine_tuning.safetensors. With cross-validation, there is one
such folder for each fold, cross_validation.json and cross_validation.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning.pytorch.utilities.exceptions import SIGTERMException

from road_seg_ros.checkpoint import CheckpointError
from road_seg_ros.engines.torch_errors import in_one_line, is_out_of_memory
from road_seg_ros.image_files import SourceError
from training import command, config, cross_validation, provenance, run_checks
from training.backbone import BackboneError
from training.config import ConfigError, TrainingConfig
from training.dataset import Sample, read_unlabelled, render_synthetic
from training.kitti_road import Pair, find_pairs, read_all
from training.out_folder import (
    fine_tuning_folder,
    finished_model,
    last_checkpoint,
    model_before_fine_tuning,
    model_file,
    owned,
)
from training.process import Process
from training.provenance import Files
from training.road_training import TrainingError
from training.run import Run

# What a user can fix; all are ValueErrors that say how.
USER_ERRORS = (ConfigError, SourceError, BackboneError, CheckpointError, TrainingError)

log = logging.getLogger('training')


def train(settings: TrainingConfig, files: Files, resume: bool = False) -> None:
    """
    Run one training, or one for each fold, and write what the module's docstring says.

    ConfigError, SourceError, BackboneError or CheckpointError say what is wrong before it starts.
    """
    pairs = find_pairs(files.data)
    run_checks.check_folds(settings, pairs)
    with owned(files.out):
        _train(settings, files, pairs, resume)


def _train(settings: TrainingConfig, files: Files, pairs: Sequence[Pair], resume: bool) -> None:
    provenance.warn_of_seen_images(settings, files, pairs)
    log.info('reading %d images', len(pairs))
    samples = dict(zip(pairs, read_all(pairs), strict=True))
    run_checks.check_validation(settings, samples)
    if settings.synthetic:
        log.info('rendering %d synthetic scenes', settings.synthetic)
    others = render_synthetic(settings.synthetic)
    if files.unlabelled:
        others += read_unlabelled(files.unlabelled)
    if settings.folds == 0 or settings.fold >= 0:
        train_once(settings, files, samples, others, resume)
        return
    for fold in range(settings.folds):
        log.info('fold %d of %d', fold, settings.folds)
        one = dataclasses.replace(settings, fold=fold)
        of_fold = dataclasses.replace(files, out=cross_validation.folder_of_fold(files.out, fold))
        goes_on = last_checkpoint(of_fold.out).is_file()
        if not goes_on and finished_model(of_fold.out):  # somebody wanted the space
            Run(one, of_fold, model_file(of_fold.out), samples, others).require_ended()
            continue
        with owned(of_fold.out):
            train_once(one, of_fold, samples, others, goes_on)
    if Process.of_environment().rank == 0:
        cross_validation.summarise(files.out, pairs, settings.folds)


def train_once(
    settings: TrainingConfig,
    files: Files,
    samples: Mapping[Pair, Sample],
    others: Sequence[Sample],
    resume: bool,
) -> None:
    """Train on `others` and on all samples but those of the validation fold, and fine-tune."""
    whole = Run(settings, files, model_file(files.out), samples, others)
    if len(settings.stages) == 1:
        whole.fit(resume)
        return
    general_settings, tuned_settings = settings.stages
    before, folder = model_before_fine_tuning(files.out), fine_tuning_folder(files.out)
    general = Run(general_settings, files, before, samples, others)
    goes_on = resume and last_checkpoint(folder).is_file()
    if goes_on:
        general.require_ended()
    else:
        general.fit(resume)
    log.info('fine-tuning: the labelled images alone, in the shape of the input')
    tuned_files = dataclasses.replace(files, out=folder, start=str(before), backbone=None)
    tuned = model_file(folder)
    with owned(folder):
        Run(tuned_settings, tuned_files, tuned, samples, ()).fit(goes_on)
    log.info('the average of %s and %s', before, tuned)
    whole.write_average([before, tuned])


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and train. Returns the exit status."""
    is_first = Process.of_environment().rank == 0
    logging.basicConfig(level=logging.INFO if is_first else logging.ERROR, format='%(message)s')
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--config', type=Path, required=True, help='a file of training/configs')
    parser.add_argument(
        '--data', type=Path, required=True, help='folder with training/image_2 and gt_image_2'
    )
    parser.add_argument('--out', type=Path, required=True, help='folder for model and logs')
    parser.add_argument(
        '--backbone', type=Path, help='VGG-16 weights as .safetensors, torchvision key names'
    )
    parser.add_argument('--start', help='model file whose weights to start from')
    parser.add_argument('--teacher', help='model file to imitate')
    parser.add_argument(
        '--unlabelled', type=Path, help='folder of images on which only the teacher teaches'
    )
    parser.add_argument(
        '--resume', action='store_true', help='go on from the last checkpoint in OUT'
    )
    parser.add_argument('settings', nargs='*', metavar='key=value', help='override a setting')
    args = parser.parse_intermixed_args(arguments)  # settings between the options too
    files = Files(args.data, args.out, args.backbone, args.start, args.teacher, args.unlabelled)
    try:
        settings = config.read(args.config, args.settings)
        if settings.imitation and not files.teacher:
            log.warning('no --teacher: the labels alone teach, as with imitation=0')
            settings = dataclasses.replace(settings, imitation=0.0)
        run_checks.check_arguments(settings, files, args.resume)
        train(settings, files, args.resume)
    except (*USER_ERRORS, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except SIGTERMException:  # Lightning's, which would end with status 0
        print('\nterminated; --resume goes on from the last epoch', file=sys.stderr)
        return 128 + signal.SIGTERM
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        print(f'error: {what_to_lower(settings, error)}', file=sys.stderr)
        return 1
    return 0


def what_to_lower(settings: TrainingConfig, error: BaseException) -> str:
    """Return which settings help where that error says that there is too little memory."""
    return (
        f'out of memory ({in_one_line(error)}); lower batch_size (now {settings.batch_size}), '
        f'crop ({settings.crop}), input_height and input_width '
        f'({settings.input_height}x{settings.input_width}) or width ({settings.width}); for '
        f'shared memory, workers ({settings.workers}); if memory is short before training starts, '
        'shrink the images'
    )


if __name__ == '__main__':
    command.run(main)
