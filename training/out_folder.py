"""The folder that a run writes to."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

from road_seg_ros import checkpoint
from road_seg_ros.checkpoint import ModelInfo
from training.config import ConfigError
from training.process import Process

log = logging.getLogger('training')


def model_file(out: Path) -> Path:
    """Return where a run's model file is."""
    return out / 'model.safetensors'


def model_before_fine_tuning(out: Path) -> Path:
    """Return where the model is that a run fine-tunes; its `model_file` is of after that."""
    return out / 'before_fine_tuning.safetensors'


def fine_tuning_folder(out: Path) -> Path:
    """Return where the fine-tuning of a run writes to."""
    return out / 'fine_tuning'


def last_checkpoint(out: Path) -> Path:
    """Return where a run's last checkpoint is, from which it goes on."""
    return out / 'checkpoints' / 'last.ckpt'


def finished_model(out: Path) -> ModelInfo | None:
    """Return what the model file of a run that has ended says; None if there is no such file."""
    if not model_file(out).is_file():
        return None
    info = checkpoint.load_info(model_file(out))
    epochs = info.training.get('epochs')
    return info if info.metrics.get('epoch', epochs) == epochs else None


def holds_run(out: Path) -> bool:
    """Whether there is something that a new run would overwrite."""
    return last_checkpoint(out).is_file() or finished_model(out) is not None


@contextlib.contextmanager
def owned(out: Path) -> Iterator[None]:
    """
    Make the folder, and keep other trainings away from it for a while; rank 0 does, for all.

    ConfigError if one of them is there. OSError if nothing can be written.
    """
    if Process.of_environment().rank:
        yield
        return
    if out.exists() and not out.is_dir():
        raise ConfigError(f'--out {out} is not a folder')
    out.mkdir(parents=True, exist_ok=True)
    with open(out / '.lock', 'w', encoding='utf-8') as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # which no child process inherits
        except (BlockingIOError, PermissionError) as error:
            raise ConfigError(f'another training is writing to {out}') from error
        except OSError as error:
            log.warning('%s cannot be kept from other trainings: %s', out, error.strerror)
        yield


def forget_logs(out: Path) -> None:
    """Remove the logs, to which a run adds, of one that ended before its first checkpoint."""
    for folder in (out / 'tensorboard', *out.glob('csv/version_*')):
        if list(folder.glob('events.out.tfevents.*')) or (folder / 'metrics.csv').is_file():
            log.info('%s: of a run without a checkpoint, removed', folder)
            shutil.rmtree(folder)
