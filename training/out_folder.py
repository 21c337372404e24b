"""The folder that a run writes to."""

from __future__ import annotations

import contextlib
import fcntl
import logging
from collections.abc import Iterator
from pathlib import Path

from training.config import ConfigError

# What a run adds to, where everything else is written anew.
LOGS = ('csv/version_*/metrics.csv', 'tensorboard/events.out.tfevents.*')

log = logging.getLogger('training')


def last_checkpoint(out: Path) -> Path:
    """Return where a run's last checkpoint is, from which it goes on."""
    return out / 'checkpoints' / 'last.ckpt'


@contextlib.contextmanager
def owned(out: Path) -> Iterator[None]:
    """
    Make the folder, and keep other processes' trainings away from it for a while.

    ConfigError if one of them is there. OSError if nothing can be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    with open(out / '.lock', 'w', encoding='utf-8') as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # which no child process inherits
        except (BlockingIOError, PermissionError) as error:
            raise ConfigError(f'another training is writing to {out}') from error
        yield


def forget_logs(out: Path) -> None:
    """Remove the logs of a run that ended before its first checkpoint."""
    logs = [path for pattern in LOGS for path in out.glob(pattern)]
    if logs:
        log.info('%s: the logs of a run without a checkpoint are removed', out)
    for path in logs:
        path.unlink()
