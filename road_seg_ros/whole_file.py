"""Files that a reader meets whole or not at all."""

from __future__ import annotations

import tempfile
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its place and move it there at the end. OSError if that cannot be."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=path.name) as folder:
        unfinished = Path(folder) / path.name
        unfinished.write_bytes(content)
        unfinished.replace(path)
