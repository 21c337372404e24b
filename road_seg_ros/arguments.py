"""Types of command-line arguments. Each raises ArgumentTypeError, which says what is allowed."""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Callable
from pathlib import Path

from road_seg_ros.geometry import parse_size


def positive(text: str) -> float:
    """Return a finite number above 0."""
    if not 0 < (value := _number(text)) < math.inf:
        raise argparse.ArgumentTypeError(f'must be a number above 0, got {text!r}')
    return value


def not_negative(text: str) -> float:
    """Return a finite number of at least 0."""
    if not 0 <= (value := _number(text)) < math.inf:
        raise argparse.ArgumentTypeError(f'must be a number of at least 0, got {text!r}')
    return value


def whole_number(least: int) -> Callable[[str], int]:
    """Return the type of whole numbers of at least `least`, which is not negative."""

    def parse(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(
                f'must be a whole number of at least {least}, got {text!r}'
            )
        return int(text)

    return parse


def height_by_width(text: str) -> tuple[int, int]:
    """Turn '160x576' into (160, 576)."""
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def new_file(text: str) -> Path:
    """Return the path of a file to write; makes its folder, before anything is measured."""
    path = Path(text)
    made = path.parent
    try:
        made.mkdir(parents=True, exist_ok=True)
        made = path
        is_folder = path.is_dir()
    except OSError as error:
        problem = f'{made} cannot be made: {error.strerror}'
        raise argparse.ArgumentTypeError(problem) from error
    if is_folder:
        raise argparse.ArgumentTypeError(f'must be a file to write, {text} is a folder')
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f'{text} cannot be written to')
    return path


def full_node_name(text: str) -> str:
    """Return a node's name with its namespace, as `/road_seg`."""
    full = f'/{text.strip("/")}'
    if not re.fullmatch(r'(/[A-Za-z_][A-Za-z0-9_]*)+', full):
        raise argparse.ArgumentTypeError(
            f'a node has a name like /road_seg or /front/road_seg, not {text!r}'
        )
    return full


def split_at_dashes(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return what is before and after `--`: a command's own arguments, and those for the node."""
    if '--' not in arguments:
        return arguments, []
    index = arguments.index('--')
    return arguments[:index], arguments[index + 1 :]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
