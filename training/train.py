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
and checkpoints/last.ckpt, from which --resume continues; with cross-validation, one such folder
for each fold, cross_validation.json and cross_validation.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.utils.data import DataLoader

from road_seg_ros import checkpoint
from road_seg_ros.checkpoint import CheckpointError, ModelInfo
from road_seg_ros.engines.torch_engine import RoadProbability
from road_seg_ros.engines.torch_errors import in_one_line, is_out_of_memory
from road_seg_ros.fcn8 import FCN8
from road_seg_ros.image_files import SourceError
from training import command, config, cross_validation, provenance, run_checks, summary
from training.backbone import NORMALIZATIONS, BackboneError, go_on_from, start_weights
from training.callbacks import Average, Pictures, Progress, ResumeBatches, SaveModel
from training.config import ConfigError, TrainingConfig
from training.dataset import (
    Sample,
    ValidationSet,
    read_unlabelled,
    render_synthetic,
    training_loader,
)
from training.kitti_road import Pair, find_pairs, read_all, split_fold
from training.out_folder import (
    finished_model,
    forget_logs,
    last_checkpoint,
    model_file,
    owned,
)
from training.process import Process
from training.provenance import Files
from training.road_training import RoadTraining, TrainingError
from training.whole_checkpoints import WholeCheckpoints

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
        if not goes_on and (info := finished_model(of_fold.out)):  # somebody wanted the space
            parts = split_fold(pairs, settings.folds, fold)
            provenance.require_same_run(info, one, of_fold, *parts, len(others))
            continue
        with owned(of_fold.out):
            train_once(one, of_fold, samples, others, goes_on)
    if Process.of_environment().rank == 0:
        cross_validation.summarise(files.out, pairs, settings.folds)


def train_once(
    settings: TrainingConfig,
    files: Files,
    samples: dict[Pair, Sample],
    others: Sequence[Sample],
    resume: bool,
) -> None:
    """Train on `others` and on all samples but those of the validation fold."""
    lightning.seed_everything(settings.seed, workers=True, verbose=False)
    torch.set_float32_matmul_precision('high')
    process = Process.of_environment()

    # Data
    size = settings.input_size
    train_pairs, val_pairs = list(samples), []
    if settings.folds:
        train_pairs, val_pairs = split_fold(train_pairs, settings.folds, settings.fold)
    log.info('%d images train, %d validate', len(train_pairs), len(val_pairs))
    if not val_pairs:
        log.info(
            'nothing validates: threshold %g and temperature %g are those of the settings',
            settings.threshold,
            settings.temperature,
        )
    train_loader = training_loader(
        [*(samples[pair] for pair in train_pairs), *others], settings, process
    )
    mine = val_pairs[process.rank :: process.world_size]
    val_loader = DataLoader(ValidationSet([samples[pair] for pair in mine], size))

    # Network
    module = new_module(settings, files)
    info = ModelInfo(
        module.network.architecture,
        size,
        NORMALIZATIONS[settings.backbone],
        settings.threshold,
        settings.temperature,
        training=dataclasses.asdict(settings),
        data=provenance.describe(settings, files, train_pairs, val_pairs, len(others)),
        data_license=provenance.license_of(files, train_pairs),
        seen=provenance.seen_by(settings, files, train_pairs),
    )

    # Loop
    origins = provenance.origins(files, train_pairs, val_pairs)
    checkpoint_every = min(settings.checkpoint_every, settings.epochs)
    save = SaveModel(model_file(files.out), info, origins)
    callbacks = [
        ResumeBatches(train_loader.batch_sampler),
        save,  # before EMA: it saves the averaged weights while they are in place
        Pictures(),
        # A GPU works on while nobody asks for the loss, of which the bar shows the value.
        Progress(refresh_rate=10 if torch.cuda.is_available() else 1),
        LearningRateMonitor('step'),
        ModelCheckpoint(
            files.out / 'checkpoints',
            filename='last',
            every_n_epochs=checkpoint_every,
            enable_version_counter=False,
            save_on_train_epoch_end=True,  # every epoch, not only those that validate
        ),
    ]
    ema = Average(decay=settings.ema)
    if settings.ema:
        callbacks.append(ema)
    trainer = lightning.Trainer(
        default_root_dir=files.out,
        **process.trainer_arguments(),
        plugins=WholeCheckpoints(),
        max_epochs=settings.epochs,
        precision=settings.precision,
        check_val_every_n_epoch=settings.validate_every,
        num_sanity_val_steps=0,
        log_every_n_steps=min(5, len(train_loader)),
        use_distributed_sampler=False,
        callbacks=callbacks,
        logger=[
            TensorBoardLogger(files.out, name='', version='tensorboard'),
            # A new version_N each time, a resumed run's too.
            CSVLogger(files.out, name='csv', flush_logs_every_n_steps=1),
        ],
    )
    if not resume and process.rank == 0:
        forget_logs(files.out)
    try:
        trainer.fit(
            module,
            train_loader,
            val_loader if val_pairs else None,
            ckpt_path=last_checkpoint(files.out) if resume else None,
        )
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # Lightning ends with status 1
            raise KeyboardInterrupt from error
        raise
    if settings.epochs % checkpoint_every:
        trainer.save_checkpoint(last_checkpoint(files.out))
    if not val_pairs:
        if settings.ema:
            ema.on_train_end(trainer, module)  # once more: a finished run that is resumed has none
        save.write(trainer, module)
    if trainer.is_global_zero:
        if not save.path.is_file():
            raise ConfigError(
                f'the run has ended, and its {save.path} is not there any more; put it back, or '
                f'remove {last_checkpoint(files.out)} to train it anew'
            )
        try:
            epochs = summary.read_epochs(files.out)
            summary.plot(epochs, files.out / 'curves.png')
            log.info('%s', summary.table(epochs))
        except (ValueError, OSError) as error:
            log.warning('no summary: %s', error)
        log.info('%s: %s', save.path, save.describe())


def new_module(settings: TrainingConfig, files: Files) -> RoadTraining:
    """Return the network with the weights that it starts from, and its teacher."""
    network = FCN8(settings.width, settings.head, dropout=settings.dropout)
    if files.start is not None:
        go_on_from(network, settings.backbone, files.start)
    else:
        start_weights(
            network, settings.backbone, files.backbone, settings.init_std, settings.skip_std
        )
    teacher = RoadProbability(*checkpoint.load(files.teacher)) if files.teacher else None
    return RoadTraining(network, settings, teacher)


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
