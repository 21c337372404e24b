"""What happens beside the loop: model files, and something to watch."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, TQDMProgressBar, WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from road_seg_ros import checkpoint
from road_seg_ros.checkpoint import ModelInfo
from road_seg_ros.image_files import SourceError
from road_seg_ros.metrics import ROAD
from road_seg_ros.pixels import resize_label, threshold_mask
from training.calibration import move_threshold
from training.config import ConfigError
from training.error_pictures import draw_errors
from training.road_training import Batch, RoadTraining, TrainingError
from training.sampling import Batches


class Average(WeightAveraging):
    """An exponential moving average of the weights, on the device that trains."""

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=get_ema_multi_avg_fn(decay))

    def on_fit_start(self, trainer: lightning.Trainer, module: RoadTraining) -> None:
        """Follow the module: Lightning made the average before it moved the module."""
        count = self._average_model.n_averaged.cpu()  # read at every step: no wait for a GPU
        self._average_model.to(module.device).n_averaged = count


class SaveModel(Callback):
    """
    Writes the model of every validation over the one before; the last one stays.

    origins: what tells the data and models of the run, which goes on with no others.
    """

    def __init__(self, path: Path, info: ModelInfo, origins: Mapping[str, str]) -> None:
        self.path = path
        self.info = info
        self.origins = dict(origins)

    def on_validation_epoch_end(self, trainer: lightning.Trainer, module: RoadTraining) -> None:
        """Save with temperature and threshold chosen on the validation fold."""
        module.reduce_counts()
        try:
            scores = module.counts.scores()
        except ValueError as error:
            raise SourceError(f'the images that validate: {error}') from error
        temperature = module.logit_counts.temperature()
        scores['threshold'] = move_threshold(scores['threshold'], temperature)
        scores['ece'] = module.logit_counts.confidences(temperature).scores()['ece']
        for name, value in {**scores, 'temperature': temperature}.items():
            module.log(name, value, prog_bar=name == 'max_f', sync_dist=True)  # the same for all
        fits = trainer.state.fn == TrainerFn.FITTING
        epoch = {'epoch': trainer.current_epoch + 1} if fits else {}
        info = dataclasses.replace(
            self.info,
            temperature=temperature,
            threshold=scores['threshold'],
            metrics={**scores, **epoch},
        )
        self._save(trainer, module, info)

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, module: RoadTraining, checkpoint: dict[str, Any]
    ) -> None:
        """Keep what the run learns from, for the one that goes on from here."""
        checkpoint['origins'] = self.origins

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, module: RoadTraining, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse to go on with other data or models."""
        before = checkpoint.get('origins', self.origins)  # older ones do not say
        for kind in (before | self.origins).keys():
            then, now = before.get(kind, 'none'), self.origins.get(kind, 'none')
            if then != now:
                raise ConfigError(
                    '--resume goes on with the data and models of the run; other '
                    f'{kind}: {now}, and not {then}'
                )

    def write(self, trainer: lightning.Trainer, module: RoadTraining) -> None:
        """Save a model that nothing validated, with the configured threshold."""
        self._save(trainer, module, self.info)

    def describe(self) -> str:
        """Return one line about the model file."""
        return checkpoint.load_info(self.path).describe()

    def _save(self, trainer: lightning.Trainer, module: RoadTraining, info: ModelInfo) -> None:
        if trainer.is_global_zero:
            try:
                checkpoint.save(self.path, module.network, info)
            except ValueError as error:
                raise TrainingError(f'{error}; lower lr and backbone_lr') from error


class ResumeBatches(Callback):
    """Tells the batches the epoch before workers fetch the first ones; Lightning does after."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, module: RoadTraining, checkpoint: dict[str, Any]
    ) -> None:
        """Go on with the epoch after the last one that ended."""
        progress = checkpoint['loops']['fit_loop']['epoch_progress']['current']
        self.batches.set_epoch(progress['processed'])


class Pictures(Callback):
    """Shows TensorBoard a batch of each epoch, and some validation images with their errors."""

    COUNT = 4

    def on_train_batch_start(
        self, trainer: lightning.Trainer, module: RoadTraining, batch: Batch, batch_idx: int
    ) -> None:
        """Show the first augmented images with their labels."""
        if batch_idx or not trainer.is_global_zero:
            return
        for index, (image, label) in enumerate(zip(*batch, strict=True)):
            if index < self.COUNT:
                label = label.cpu().numpy().astype(np.uint8)
                road = (label == ROAD).astype(np.uint8)
                self._show(trainer, f'training/{index}', draw_errors(_bgr(image), road, label))

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        module: RoadTraining,
        outputs: np.ndarray,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Show what was right and wrong at a probability of 0.5; outputs: the confidence."""
        every = -(-trainer.num_val_batches[0] // self.COUNT)
        if batch_idx % every or not trainer.is_global_zero:
            return
        image, label = _bgr(batch[0][0]), batch[1][0].cpu().numpy()
        size = image.shape[1::-1]
        label = resize_label(label, image.shape[:2])
        mask = cv2.resize(threshold_mask(outputs, 0.5), size, interpolation=cv2.INTER_AREA)
        picture = draw_errors(image, mask, label)
        self._show(trainer, f'validation/{batch_idx // every}', picture)

    @staticmethod
    def _show(trainer: lightning.Trainer, name: str, bgr: np.ndarray) -> None:
        board = trainer.logger.experiment
        rgb = np.ascontiguousarray(bgr[..., ::-1])
        board.add_image(name, rgb, trainer.current_epoch, dataformats='HWC')


class Progress(TQDMProgressBar):
    """Shows learning rate and images per second beside loss and time left."""

    def on_train_epoch_start(self, trainer: lightning.Trainer, *args: Any) -> None:
        """Start the clock of the epoch."""
        super().on_train_epoch_start(trainer, *args)
        self._started = time.perf_counter()
        self._images = 0

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: RoadTraining,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count images."""
        self._images += len(batch[0]) * trainer.world_size
        super().on_train_batch_end(trainer, module, outputs, batch, batch_idx)

    def on_exception(self, *_: Any) -> None:
        """End the bar's line before an error is printed."""
        if self._train_progress_bar is not None:
            self._train_progress_bar.close()

    def get_metrics(self, trainer: lightning.Trainer, module: RoadTraining) -> dict[str, Any]:
        """Return what the bar shows."""
        metrics = super().get_metrics(trainer, module)
        metrics.pop('v_num', None)
        if self._images:
            metrics['images/s'] = f'{self._images / (time.perf_counter() - self._started):.1f}'
        metrics['lr'] = f'{trainer.optimizers[0].param_groups[-1]["lr"]:.1e}'
        return metrics


def _bgr(image: torch.Tensor) -> np.ndarray:
    """RGB (3, H, W) -> BGR (H, W, 3), both uint8."""
    return np.ascontiguousarray(image.cpu().numpy().transpose(1, 2, 0)[..., ::-1])
