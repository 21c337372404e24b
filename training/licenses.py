"""The licences that a model inherits from the data it learned from."""

from __future__ import annotations

from collections.abc import Iterable

KITTI = 'KITTI: CC BY-NC-SA 3.0 (https://www.cvlibs.net/datasets/kitti)'


def combined(licenses: Iterable[str]) -> str:
    """Return the licences that hold together, each once; '' where there is none."""
    return '; '.join(dict.fromkeys(text for text in licenses if text))
