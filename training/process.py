"""The processes of a run: one, or what torchrun has started."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Process:
    """
    Rank, counted from 0, and number of processes; torchrun tells each by its environment.

    local_world_size: how many of them are on this machine.
    """

    rank: int = 0
    world_size: int = 1
    local_world_size: int = 1

    @classmethod
    def of_environment(cls) -> Process:
        """Return what torchrun's environment variables say, or one process alone."""
        names = ('RANK', 'WORLD_SIZE', 'LOCAL_WORLD_SIZE')
        if not all(name in os.environ for name in names):
            return cls()
        return cls(*(int(os.environ[name]) for name in names))

    def trainer_arguments(self) -> dict[str, Any]:
        """Return what lightning.Trainer needs to know."""
        return {
            'devices': self.local_world_size,
            'num_nodes': self.world_size // self.local_world_size,
            'strategy': 'ddp' if self.world_size > 1 else 'auto',
        }
