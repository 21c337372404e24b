"""One run: what trains, what validates, Lightning's loop over both, and the model file."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import DataLoader

from road_seg_ros import checkpoint
from road_seg_ros.checkpoint import ModelInfo
from road_seg_ros.engines.torch_engine import RoadProbability
from road_seg_ros.fcn8 import FCN8
from training import provenance, summary
from training.average import average
from training.backbone import NORMALIZATIONS, go_on_from, start_weights
from training.callbacks import Average, Pictures, Progress, ResumeBatches, SaveModel
from training.config import ConfigError, TrainingConfig
from training.dataset import Sample, ValidationSet, training_loader
from training.kitti_road import Pair, split_fold
from training.out_folder import forget_logs, last_checkpoint
from training.process import Process
from training.provenance import Files
from training.road_training import RoadTraining
from training.whole_checkpoints import WholeCheckpoints

log = logging.getLogger('training')


class Run:
    """
    A run that writes a model file.

    samples: those with labels, of which `settings.fold` validates; others: those that only train.
    """

    def __init__(
        self,
        settings: TrainingConfig,
        files: Files,
        model_path: Path,
        samples: Mapping[Pair, Sample],
        others: Sequence[Sample],
    ) -> None:
        self.settings = settings
        self.files = files
        self.model_path = model_path
        self.training, self.validation = list(samples), []
        if settings.folds:
            self.training, self.validation = split_fold(
                self.training, settings.folds, settings.fold
            )
        self._samples = samples
        self._others = others
        self._process = Process.of_environment()

    def require_ended(self) -> None:
        """Raise ConfigError if the model file is not that of such a run."""
        provenance.require_same_run(
            checkpoint.load_info(self.model_path),
            *(self.settings, self.files, self.training, self.validation, len(self._others)),
        )

    def fit(self, resume: bool) -> None:
        """Train, or go on from the last checkpoint in `files.out`, and write the model file."""
        settings, files = self.settings, self.files
        lightning.seed_everything(settings.seed, workers=True, verbose=False)
        log.info('%d images train, %d validate', len(self.training), len(self.validation))
        if not self.validation:
            log.info(
                'nothing validates: threshold %g and temperature %g are those of the settings',
                settings.threshold,
                settings.temperature,
            )
        labelled = [self._samples[pair] for pair in self.training]
        train_loader = training_loader([*labelled, *self._others], settings, self._process)
        module = new_module(settings, files)
        origins = provenance.origins(files, self.training, self.validation)
        save = SaveModel(self.model_path, self._info(module.network), origins)
        checkpoint_every = min(settings.checkpoint_every, settings.epochs)
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
        trainer = self._trainer(
            plugins=WholeCheckpoints(),
            max_epochs=settings.epochs,
            check_val_every_n_epoch=settings.validate_every,
            num_sanity_val_steps=0,
            log_every_n_steps=min(5, len(train_loader)),
            callbacks=callbacks,
            logger=[
                TensorBoardLogger(files.out, name='', version='tensorboard'),
                # A new version_N each time, a resumed run's too.
                CSVLogger(files.out, name='csv', flush_logs_every_n_steps=1),
            ],
        )
        if not resume and self._process.rank == 0:
            forget_logs(files.out)
        try:
            trainer.fit(
                module,
                train_loader,
                self._validation_loader() if self.validation else None,
                ckpt_path=last_checkpoint(files.out) if resume else None,
            )
        except SystemExit as error:
            if isinstance(error.__context__, KeyboardInterrupt):  # Lightning ends with status 1
                raise KeyboardInterrupt from error
            raise
        if settings.epochs % checkpoint_every:
            trainer.save_checkpoint(last_checkpoint(files.out))
        if not self.validation:
            if settings.ema:
                ema.on_train_end(trainer, module)  # again: a finished run, resumed, has none
            save.write(trainer, module)
        if trainer.is_global_zero:
            self._tell_end(save)
        trainer.strategy.barrier()  # all of them find the model file

    def write_average(self, models: Sequence[Path]) -> None:
        """Write the average of the models, with threshold and temperature as `fit` has them."""
        network, _ = average([str(path) for path in models])
        module = RoadTraining(network, self.settings)
        save = SaveModel(self.model_path, self._info(network), origins={})  # nothing goes on
        trainer = self._trainer(
            callbacks=[save, TQDMProgressBar()], logger=False, enable_checkpointing=False
        )
        if self.validation:
            trainer.validate(module, self._validation_loader(), verbose=False)
        else:
            save.write(trainer, module)
        if trainer.is_global_zero:
            log.info('%s: %s', save.path, save.describe())

    def _trainer(self, **options: Any) -> lightning.Trainer:
        torch.set_float32_matmul_precision('high')
        return lightning.Trainer(
            default_root_dir=self.files.out,
            **self._process.trainer_arguments(),
            precision=self.settings.precision,
            use_distributed_sampler=False,  # each process has its share already
            **options,
        )

    def _validation_loader(self) -> DataLoader:
        mine = self.validation[self._process.rank :: self._process.world_size]
        samples = [self._samples[pair] for pair in mine]
        return DataLoader(ValidationSet(samples, self.settings.input_size))

    def _info(self, network: FCN8) -> ModelInfo:
        settings, files = self.settings, self.files
        return ModelInfo(
            network.architecture,
            settings.input_size,
            NORMALIZATIONS[settings.backbone],
            settings.threshold,
            settings.temperature,
            training=dataclasses.asdict(settings),
            data=provenance.describe(
                settings, files, self.training, self.validation, len(self._others)
            ),
            data_license=provenance.license_of(files, self.training),
            seen=provenance.seen_by(settings, files, self.training),
        )

    def _tell_end(self, save: SaveModel) -> None:
        out = self.files.out
        if not save.path.is_file():
            raise ConfigError(
                f'the run has ended, and its {save.path} is not there any more; put it back, or '
                f'remove {last_checkpoint(out)} to train it anew'
            )
        try:
            epochs = summary.read_epochs(out)
            summary.plot(epochs, out / 'curves.png')
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
