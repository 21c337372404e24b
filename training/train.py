"""
Train the network on KITTI Road and write a model file.

    python -m training.train --config training/configs/compact.yaml --data KITTI_DIR --out DIR
    python -m training.train ... --backbone vgg16_features.safetensors   # instead of downloading
    python -m training.train ... epochs=12 lr=1e-4                       # any setting
    python -m training.train ... --resume                                # go on after a stop

DIR gets model.safetensors (the best epoch on the validation fold), csv/version_0/metrics.csv,
tensorboard/ and checkpoints/last.ckpt, from which --resume continues.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from road_seg_ros import checkpoint
from road_seg_ros.checkpoint import InputSize, ModelInfo
from road_seg_ros.fcn8 import FCN8
from training import config
from training.backbone import NORMALIZATIONS, BackboneError, start_weights
from training.config import ConfigError, TrainingConfig
from training.dataset import (
    TrainingSet,
    ValidationSet,
    flip_every_second,
    render_synthetic,
    training_transform,
)
from training.kitti_road import NOT_SCORED, DataError, find_pairs, read_all, split_fold
from training.metrics import RoadCounts

DATA_LICENSE = 'KITTI: CC BY-NC-SA 3.0 (https://www.cvlibs.net/datasets/kitti)'
POLY_POWER = 0.9  # DeepLab's schedule: lr * (1 - step / steps) ** 0.9

log = logging.getLogger('training')


class RoadTraining(lightning.LightningModule):
    """What one step, one validation image and the optimiser do."""

    def __init__(self, network: FCN8, settings: TrainingConfig) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self.settings = settings
        gain, offset = NORMALIZATIONS[settings.backbone].gain_and_offset()  # all of them RGB
        self.register_buffer('gain', gain, persistent=False)
        self.register_buffer('offset', offset, persistent=False)
        self.counts = RoadCounts()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """images: uint8 (N, 3, H, W) RGB -> logits, float32 (N, 2, H, W)."""
        images = images.float() * self.gain + self.offset
        return self.network(images.contiguous(memory_format=torch.channels_last)).float()

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> torch.Tensor:
        """Cross entropy over the scored pixels of the batch."""
        images, labels = batch
        loss = functional.cross_entropy(self(images), labels, ignore_index=NOT_SCORED)
        self.log('loss', loss, prog_bar=True, on_step=True, on_epoch=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Start the counts anew."""
        self.counts = RoadCounts()

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> None:
        """Count one image at its native size, with the 8-bit confidence that the node gives."""
        image, label = batch
        logits = self(image)
        probability = torch.sigmoid(logits[:, 1:] - logits[:, :1])  # (1, 1, h, w)
        probability = functional.interpolate(probability, label.shape[1:], mode='bilinear')
        confidence = (probability[0, 0] * 255).round().to(torch.uint8)
        self.counts.add(confidence.cpu().numpy(), label[0].cpu().numpy())

    def on_validation_epoch_end(self) -> None:
        """Log the benchmark's scores."""
        for name, value in self.counts.scores().items():
            self.log(name, value, prog_bar=name == 'max_f')

    def configure_optimizers(self) -> dict[str, Any]:
        """Adam, with its own learning rate for the VGG features, stepped every batch."""
        settings = self.settings
        decay = settings.weight_decay or settings.l2
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.network.named_parameters():
            lr = settings.backbone_lr if name.startswith('features') else settings.lr
            is_kernel = parameter.ndim > 1
            is_new = name.startswith(('score', 'upsample'))
            decays = is_kernel and (is_new or not settings.l2)
            groups.setdefault((lr, decay if decays else 0.0), []).append(parameter)
        # Adam adds weight_decay * weight to the gradient, which is the gradient of the L2 term
        # weight_decay / 2 * weight ** 2 in the loss; AdamW shrinks the weights beside it.
        adam = torch.optim.Adam if settings.l2 else torch.optim.AdamW
        optimizer = adam(
            [
                {'params': parameters, 'lr': lr, 'weight_decay': weight_decay}
                for (lr, weight_decay), parameters in groups.items()
            ]
        )
        steps = self.trainer.estimated_stepping_batches
        warmup = settings.warmup_epochs * steps / settings.epochs

        def factor(step: int) -> float:
            if settings.schedule == 'constant':
                return 1.0
            start = min(1.0, (step + 1) / (warmup + 1))
            return start * max(0.0, 1 - step / steps) ** POLY_POWER

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {
            'optimizer': optimizer,
            'lr_scheduler': {'scheduler': schedule, 'interval': 'step'},
        }


class SaveModel(Callback):
    """Writes model.safetensors whenever the validation MaxF is the best so far."""

    def __init__(self, path: Path, info: ModelInfo) -> None:
        self.path = path
        self.info = info
        self.best = -1.0

    def on_validation_end(self, trainer: lightning.Trainer, module: RoadTraining) -> None:
        """Save with the threshold that gave the best F1 on the validation fold."""
        scores = module.counts.scores()
        if trainer.sanity_checking or scores['max_f'] <= self.best:
            return
        self.best = scores['max_f']
        self._save(trainer, module, scores['threshold'], scores)

    def on_train_end(self, trainer: lightning.Trainer, module: RoadTraining) -> None:
        """Save at the end where nothing validates."""
        if not trainer.val_dataloaders:
            self._save(trainer, module, self.info.threshold, {})

    def state_dict(self) -> dict[str, float]:
        """Remember the best score over a stop."""
        return {'best': self.best}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Go on from the best score before the stop."""
        self.best = state_dict['best']

    def _save(
        self,
        trainer: lightning.Trainer,
        module: RoadTraining,
        threshold: float,
        scores: dict[str, float],
    ) -> None:
        if not trainer.is_global_zero:
            return
        metrics = {**scores, 'epoch': trainer.current_epoch + 1} if scores else {}
        info = dataclasses.replace(self.info, threshold=threshold, metrics=metrics)
        checkpoint.save(self.path, module.network, info)


def train(
    settings: TrainingConfig,
    data: Path,
    out: Path,
    backbone: Path | None = None,
    resume: bool = False,
) -> Path:
    """Run one training and return the path of the model file it wrote."""
    lightning.seed_everything(settings.seed, workers=True, verbose=False)
    torch.set_float32_matmul_precision('high')
    out.mkdir(parents=True, exist_ok=True)

    # Data
    size = InputSize(settings.input_height, settings.input_width, settings.keep_aspect_ratio)
    pairs = find_pairs(data)
    train_pairs, val_pairs = split_fold(pairs, settings.folds, settings.fold)
    log.info('reading %d training and %d validation images', len(train_pairs), len(val_pairs))
    samples = dict(zip(pairs, read_all(pairs), strict=True))
    train_samples = [samples[pair] for pair in train_pairs]
    val_samples = [samples[pair] for pair in val_pairs]
    if settings.synthetic:
        log.info('rendering %d synthetic scenes', settings.synthetic)
        train_samples += render_synthetic(settings.synthetic)
    transform = training_transform(settings.augmentation, size.height, size.width)
    train_loader = DataLoader(
        TrainingSet(train_samples, transform),
        settings.batch_size,
        shuffle=True,
        collate_fn=flip_every_second if settings.augmentation == 'flip_every_second' else None,
        num_workers=settings.workers,
        persistent_workers=settings.workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
    val_loader = DataLoader(ValidationSet(val_samples, size)) if val_samples else None

    # Network
    network = FCN8(settings.width, settings.head, dropout=settings.dropout)
    start_weights(network, settings.backbone, backbone, settings.init_std, settings.skip_std)
    info = ModelInfo(
        network.architecture,
        size,
        NORMALIZATIONS[settings.backbone],
        training=dataclasses.asdict(settings),
        data=f'KITTI Road, {len(train_pairs)} images for training, {len(val_pairs)} (fold '
        f'{settings.fold} of {settings.folds}) for validation; {settings.synthetic} synthetic '
        'scenes for training',
        data_license=DATA_LICENSE,
    )

    # Loop
    trainer = lightning.Trainer(
        default_root_dir=out,
        devices=1,
        max_epochs=settings.epochs,
        precision=settings.precision,
        check_val_every_n_epoch=settings.validate_every,
        num_sanity_val_steps=0,
        log_every_n_steps=5,
        callbacks=[
            SaveModel(out / 'model.safetensors', info),
            ModelCheckpoint(
                out / 'checkpoints',
                filename='last',
                enable_version_counter=False,
                save_on_train_epoch_end=True,  # every epoch, not only those that validate
            ),
            LearningRateMonitor('step'),
        ],
        logger=[
            TensorBoardLogger(out, name='', version='tensorboard'),
            CSVLogger(out, name='csv'),  # a new version_N each time: a resumed run keeps the old
        ],
    )
    trainer.fit(
        RoadTraining(network, settings),
        train_loader,
        val_loader,
        ckpt_path=_last_checkpoint(out) if resume else None,
    )
    return out / 'model.safetensors'


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and train. Returns the exit status."""
    logging.basicConfig(level=logging.INFO, format='%(message)s')
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
    parser.add_argument(
        '--resume', action='store_true', help='go on from the last checkpoint in OUT'
    )
    parser.add_argument('settings', nargs='*', metavar='key=value', help='override a setting')
    args = parser.parse_args(arguments)
    try:
        settings = config.read(args.config, args.settings)
        _check_out(args.out, args.resume)
        path = train(settings, args.data, args.out, args.backbone, args.resume)
    except (ConfigError, DataError, BackboneError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    log.info('%s: %s', path, checkpoint.load_info(path).describe())
    return 0


def _last_checkpoint(out: Path) -> Path:
    return out / 'checkpoints' / 'last.ckpt'


def _check_out(out: Path, resume: bool) -> None:
    has_run = _last_checkpoint(out).is_file()
    if resume and not has_run:
        raise ConfigError(f'--resume needs {_last_checkpoint(out)}, and there is none')
    if has_run and not resume:
        raise ConfigError(f'{out} already holds a run; --resume continues it, or choose another')


if __name__ == '__main__':
    sys.exit(main())
