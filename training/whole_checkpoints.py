"""Checkpoints of a run that are there as a whole, whenever the run is killed."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from training.config import ConfigError


class WholeCheckpoints(TorchCheckpointIO):
    """
    Writes beside the checkpoint of before, and takes its place when complete.

    Lightning's own way over the folder for temporary files is a copy where that is on another
    file system: a run killed in the middle of it would have no checkpoint left.
    """

    def load_checkpoint(self, path: str | Path, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Read a checkpoint. ConfigError if the file is damaged."""
        if not _is_whole(path):
            raise ConfigError(f'{path} is damaged; remove it to train that run anew')
        return super().load_checkpoint(path, *arguments, **options)

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint to a local path. OSError if it cannot be written."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f'{path.name}.part')
        try:
            with open(part, 'wb') as file:
                torch.save(checkpoint, file)
                os.fsync(file.fileno())
            os.replace(part, path)
        except RuntimeError as error:  # PyTorch's, of a full disk
            raise OSError(f'{part} cannot be written: {str(error).splitlines()[0]}') from error
        finally:
            part.unlink(missing_ok=True)


def _is_whole(path: str | Path) -> bool:
    try:
        with zipfile.ZipFile(path) as file:  # PyTorch's format, with checksums
            return file.testzip() is None
    except (zipfile.BadZipFile, ValueError, RuntimeError):  # of a directory that lies
        return False
