"""An output folder that appears when it is complete, and not before."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path


class OutputError(RuntimeError):
    """Something that cannot be written; names it and says why."""


@contextlib.contextmanager
def whole_folder(out: Path, replaceable: Callable[[Path], bool] | None = None) -> Iterator[Path]:
    """
    Yield a path at which to make a folder; it becomes `out` if the block ends well.

    Until then it stands in a hidden folder beside `out`, which goes when the block ends. What a
    killed process left there, the next one removes. replaceable: tells whether what stands at
    `out` may be replaced; None, nothing may. OutputError says why `out` cannot be made.
    """
    out = Path(os.path.abspath(out))
    with _naming(out):
        _refuse_to_replace(out, replaceable)
        partial = out.with_name(f'.{out.name}.partial')
        partial.mkdir(exist_ok=True)
        lock = os.open(partial, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(f'{out} is being written by another process') from None
        replaced = partial / f'{out.name}.replaced'
        try:
            with _naming(out):
                _restore(replaced, out)
                _refuse_to_replace(out, replaceable)
                _empty(partial)
            yield partial / out.name
            with _naming(out):
                _refuse_to_replace(out, replaceable)
                if out.exists():
                    out.rename(replaced)
                (partial / out.name).rename(out)
        finally:
            _restore(replaced, out)
            shutil.rmtree(partial, ignore_errors=True)
    finally:
        os.close(lock)


@contextlib.contextmanager
def _naming(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f'{out} cannot be made: {error.strerror}') from error


def _refuse_to_replace(out: Path, replaceable: Callable[[Path], bool] | None) -> None:
    if not os.path.lexists(out):
        return
    if replaceable is None:
        raise OutputError(f'{out} exists already; --force replaces it')
    if not replaceable(out):
        raise OutputError(f'{out} is something else than what is to be written; not replaced')


def _restore(replaced: Path, out: Path) -> None:
    """Put back what was to be replaced, if something came between its removal and the end."""
    if replaced.exists() and not out.exists():
        replaced.rename(out)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
