"""How PyTorch's threads wait for each other on a CPU."""

from __future__ import annotations

import os


def wait_asleep() -> None:
    """
    Make threads that wait sleep; call it before PyTorch is imported.

    By default they spin, and on cores that other processes want as well, that keeps away the very
    thread they wait for. OMP_WAIT_POLICY in the environment has precedence.
    """
    os.environ.setdefault('OMP_WAIT_POLICY', 'passive')
