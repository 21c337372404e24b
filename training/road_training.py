"""What one training step, one validation image and the optimiser do."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import lightning
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from road_seg_ros.engines.torch_engine import RoadProbability
from road_seg_ros.fcn8 import FCN8
from road_seg_ros.metrics import NOT_SCORED, ROAD, RoadCounts
from training import losses
from training.backbone import NORMALIZATIONS
from training.calibration import LogitCounts
from training.config import TrainingConfig

Batch = tuple[torch.Tensor, torch.Tensor]  # see TrainingSet and ValidationSet

POLY_POWER = 0.9  # DeepLab's schedule: lr * (1 - step / steps) ** 0.9


class TrainingError(ValueError):
    """A training that has gone wrong; says what to change."""


class RoadTraining(lightning.LightningModule):
    """
    The network while it learns.

    teacher: a ready model whose road probability the network imitates, or None. `counts` and
    `logit_counts` hold the last validation, of all devices once `reduce_counts` was called.
    """

    def __init__(
        self, network: FCN8, settings: TrainingConfig, teacher: RoadProbability | None = None
    ) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self.settings = settings
        self._teacher = [teacher] if teacher else []  # in a list: no part of checkpoints
        normalization = NORMALIZATIONS[settings.backbone]  # all of them RGB
        for name, array in zip(('gain', 'offset'), normalization.gain_and_offset(), strict=True):
            self.register_buffer(name, torch.from_numpy(array), persistent=False)
        self.counts = RoadCounts()
        self.logit_counts = LogitCounts()
        self._last_loss = torch.zeros(())
        for parameter in _first_blocks(network, settings.frozen_blocks):
            parameter.requires_grad_(False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """images: uint8 (N, 3, H, W) RGB -> logits, float32 (N, 2, H, W)."""
        images = images.float() * self.gain + self.offset
        return self.network(images.contiguous(memory_format=torch.channels_last)).float()

    def on_fit_start(self) -> None:
        """Bring the teacher along."""
        for teacher in self._teacher:
            teacher.to(self.device, memory_format=torch.channels_last)

    def on_train_epoch_start(self) -> None:
        """Seed dropout by the epoch: a resumed run then ends as an uninterrupted one."""
        self._epoch_started = time.perf_counter()
        torch.manual_seed(
            (self.settings.seed * 10_000 + self.current_epoch) * 1_000 + self.global_rank
        )

    def training_step(self, batch: Batch, _: int) -> torch.Tensor:
        """Return the batch's loss over its scored pixels."""
        images, labels = batch
        loss = self.loss(self(images), images, labels.long()).mean()
        self._last_loss = loss.detach()
        self.log('loss_step', loss, prog_bar=True)
        self.log('loss_epoch', loss, prog_bar=True, on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def on_train_epoch_end(self) -> None:
        """Give up where there is nothing left to learn from. TrainingError says what to lower."""
        self._require_finite('the loss', self._last_loss)  # so the device has done it all
        self.log('epoch_s', time.perf_counter() - self._epoch_started, sync_dist=True)

    def _require_finite(self, what: str, values: torch.Tensor) -> None:
        bad = values[~torch.isfinite(values)]
        if bad.numel():
            raise TrainingError(
                f'{what} is {float(bad[0])} in epoch {self.current_epoch + 1}; lower lr (now '
                f'{self.settings.lr}) and backbone_lr ({self.settings.backbone_lr}), or give a '
                'longer warmup_epochs'
            )

    def loss(
        self, logits: torch.Tensor, images: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Return the loss of each image, (N,). Shapes as in `forward`; labels (N, H, W)."""
        settings = self.settings
        weight = losses.pixel_weight(labels, settings.boundary)
        of_labels = losses.SUPERVISED[settings.loss](logits, labels, weight)
        if settings.lovasz:
            of_labels = of_labels + settings.lovasz * losses.lovasz_hinge(logits, labels)
        if not self._teacher:
            return of_labels
        with torch.no_grad():
            teacher = self._teacher[0]
            taught = teacher.log_odds(images if teacher.bgr_to_rgb else images.flip(1))
        everywhere = torch.ones_like(weight)  # the teacher knows what no one labelled
        of_teacher = losses.imitation(logits, taught, everywhere, settings.imitation_temperature)
        return (1 - settings.imitation) * of_labels + settings.imitation * of_teacher

    def on_validation_epoch_start(self) -> None:
        """Start the counts anew; TrainingError where there are none, see on_train_epoch_end."""
        self._require_finite('the loss', self._last_loss)
        self.counts, self.logit_counts = RoadCounts(), LogitCounts()

    def validation_step(self, batch: Batch, _: int) -> np.ndarray:
        """
        Count one image at its native size, with the 8-bit confidence that the node gives.

        Returns that confidence, uint8 (H, W).
        """
        image, label = batch
        logit = losses.log_odds(self(image))[:, None]  # (1, 1, h, w)
        self._require_finite('an answer', logit)
        probability = torch.sigmoid(logit)
        probability = functional.interpolate(probability, label.shape[1:], mode='bilinear')
        confidence = (probability[0, 0] * 255).round().to(torch.uint8).cpu().numpy()
        self.counts.add(confidence, label[0].cpu().numpy())
        label = functional.interpolate(label[None].float(), logit.shape[2:], mode='nearest-exact')
        scored = label != NOT_SCORED
        self.logit_counts.add(logit[scored].cpu().numpy(), (label[scored] == ROAD).cpu().numpy())
        return confidence

    def reduce_counts(self) -> None:
        """Sum the counts of all devices; every device must call it."""
        if self.trainer.world_size == 1:
            return
        for counts in (self.counts, self.logit_counts):
            for name, values in vars(counts).items():
                total = self.trainer.strategy.reduce(
                    torch.from_numpy(values).to(self.device), reduce_op='sum'
                )
                setattr(counts, name, total.cpu().numpy())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the settings, for a run that goes on from here."""
        checkpoint['settings'] = dataclasses.asdict(self.settings)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on with other settings."""
        self.settings.require_same_as(checkpoint['settings'])

    def configure_optimizers(self) -> dict[str, Any]:
        """Return the optimiser, and its schedule stepped every batch."""
        optimizer, schedule = self.optimizer_and_schedule(self.trainer.estimated_stepping_batches)
        return {
            'optimizer': optimizer,
            'lr_scheduler': {'scheduler': schedule, 'interval': 'step'},
        }

    def optimizer_and_schedule(
        self, steps: int
    ) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
        """Return Adam, with its own learning rate for the VGG features, for so many steps."""
        settings = self.settings
        decay = settings.weight_decay or settings.l2
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.network.named_parameters():
            lr = settings.backbone_lr if name.startswith('features') else settings.lr
            is_kernel = parameter.ndim > 1
            is_new = name.startswith(('score', 'upsample'))
            decays = is_kernel and (is_new or not settings.l2)
            if parameter.requires_grad:
                groups.setdefault((lr, decay if decays else 0.0), []).append(parameter)
        # Adam adds weight_decay * weight to the gradient, which is the gradient of the L2 term
        # weight_decay / 2 * weight ** 2 in the loss; AdamW shrinks the weights beside it.
        adam = torch.optim.Adam if settings.l2 else torch.optim.AdamW
        optimizer = adam(
            [
                {'params': parameters, 'lr': lr, 'weight_decay': weight_decay}
                for (lr, weight_decay), parameters in groups.items()
            ],
            fused=True,
        )
        warmup = settings.warmup_epochs * steps / settings.epochs

        def factor(step: int) -> float:
            start = min(1.0, (step + 1) / (warmup + 1))
            if settings.schedule == 'constant':
                return start
            return start * max(0.0, 1 - step / steps) ** POLY_POWER

        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _first_blocks(network: FCN8, blocks: int) -> list[nn.Parameter]:
    """Return the parameters before the pool that ends block `blocks`, counted from 1."""
    parameters: list[nn.Parameter] = []
    for layer in network.features:
        if blocks == 0:
            break
        parameters += layer.parameters()
        blocks -= isinstance(layer, nn.MaxPool2d)
    return parameters
