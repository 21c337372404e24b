"""The parameter file of a launch, looked at before the nodes read it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any


def find_params_file(params_file: str) -> Path:
    """Return its path; ValueError if it is not there, where launch_ros would only warn."""
    path = Path(params_file).expanduser()
    if not path.is_file():
        raise ValueError(f'params_file must be a YAML file, got {params_file!r}: there is none')
    return path


def unread_sections(path: Path, nodes: Collection[str]) -> list[str]:
    """
    Return the sections of a parameter file if none of them is for any of the nodes, else [].

    nodes: full names. A name in the file without / is one in the root namespace, `*` stands for
    one part of a name and `**` for any number of them. ValueError if the file is no YAML.
    """
    import yaml  # comes with launch; the node does without

    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = ' '.join(str(error).split())
        raise ValueError(f'params_file {path} cannot be read: {reason}') from error
    sections = list(_sections(content))
    if any(_pattern(section).fullmatch(node) for section in sections for node in nodes):
        return []
    return sections


def _sections(content: Any, name: str = '') -> Iterator[str]:
    """Yield the full names of those that a file, or a part of it below a name, is for."""
    if isinstance(content, dict):
        for key, below in content.items():
            if key == 'ros__parameters':
                yield name
            else:
                yield from _sections(below, f'{name}/{str(key).strip("/")}')


def _pattern(section: str) -> re.Pattern[str]:
    parts = {'**': '(/[^/]+)*', '*': '/[^/]+'}
    return re.compile(''.join(parts.get(p, '/' + re.escape(p)) for p in section.split('/')[1:]))
