"""
Compiled models in the user's cache folder, so that only the first start has to compile.

An entry is one file: a checksum, then the content. It appears in one step, so that nodes that
start together never meet half of one; a damaged entry counts as none.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from road_seg_ros.resources import PACKAGE
from road_seg_ros.whole_file import write_whole

MOST_BYTES = 512 * 2**20  # the oldest entries go; those of the model that ships have 10 MB
SUFFIX = '.compiled'


def folder() -> Path:
    """
    Return where entries are: road_seg_ros below $XDG_CACHE_HOME or ~/.cache.

    OSError for a user without a home, whose ~ would be a folder of that name.
    """
    base = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    if base.startswith('~'):
        raise FileNotFoundError('this user has no home folder, and XDG_CACHE_HOME is not set')
    return Path(base) / PACKAGE


def read(key: str) -> bytes | None:
    """Return the content that was written under a key; None if there is none or it is damaged."""
    try:
        content = (folder() / f'{key}{SUFFIX}').read_bytes()
    except OSError:
        return None
    checksum, content = content[:32], content[32:]
    return content if hashlib.sha256(content).digest() == checksum else None


def write(key: str, content: bytes) -> None:
    """Keep content under a key (a file name). Nothing happens where the folder is read-only."""
    with contextlib.suppress(OSError):
        folder().mkdir(parents=True, exist_ok=True)
        checksum = hashlib.sha256(content).digest()
        write_whole(folder() / f'{key}{SUFFIX}', checksum + content)
        newest_first = sorted(
            folder().glob(f'*{SUFFIX}'), key=lambda entry: entry.stat().st_mtime, reverse=True
        )
        total = newest_first[0].stat().st_size
        for entry in newest_first[1:]:
            total += entry.stat().st_size
            if total > MOST_BYTES:
                entry.unlink()
