"""The tables of the README say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from road_seg_ros.image_msgs import LAYOUTS
from road_seg_ros.launching.arguments import REPLAY, SEG, Argument
from road_seg_ros.parameters import BY_NAME, DECLARATIONS, Declaration

README = (Path(__file__).parent.parent / 'README.md').read_text(encoding='utf-8')
ROOT = Path(__file__).parent.parent


def parameter_row(declaration: Declaration) -> str:
    """Return a parameter's row in the README."""
    default = declaration.default
    shown = str(default).lower() if isinstance(default, bool) else repr(default)
    shown = default if isinstance(default, str) and default else shown
    cells = (
        f'`{declaration.name}`',
        f'`{shown}`',
        declaration.rule,
        declaration.effect,
        declaration.description,
    )
    return f'| {" | ".join(cells)} |'


@pytest.mark.parametrize('declaration', DECLARATIONS, ids=lambda declaration: declaration.name)
def test_every_parameter_has_its_row(declaration: Declaration) -> None:
    assert parameter_row(declaration) in README.splitlines()


def test_every_encoding_is_named() -> None:
    row = next(line for line in README.splitlines() if '| `camera/image_raw` |' in line)
    bayer = re.search(r'bayer_\{(.+)\}8', row)[1].split(',')
    named = set(re.findall(r'\w+', row)) | {f'bayer_{pattern}8' for pattern in bayer}
    assert set(LAYOUTS) <= named


def launch_rows(file: str) -> dict[str, str]:
    """Return the default of every argument in the table that follows a launch file's name."""
    section = README.split('### Launch arguments')[1].split('\n## ')[0]
    table = section.split(f'{file} --show-args')[1].split('--show-args')[0]
    rows = [line.split(' | ') for line in table.splitlines() if line.startswith('| `')]
    return {name: row[1] for row in rows for name in re.findall(r'`(\w+)`', row[0])}


def launch_default(argument: Argument) -> str:
    """Return an argument's default as the README shows it."""
    if argument.name in BY_NAME and not argument.default:
        return 'as `params_file` says'
    if argument.name == 'params_file':
        return '`config/seg.yaml` of the package'
    return {None: 'to be given', '': 'none'}.get(argument.default, f'`{argument.default}`')


@pytest.mark.parametrize(
    ('file', 'arguments'), [('seg.launch.py', SEG), ('replay.launch.py', REPLAY)]
)
def test_every_launch_argument_has_its_row(file: str, arguments: tuple[Argument, ...]) -> None:
    assert launch_rows(file) == {a.name: launch_default(a) for a in arguments}


@pytest.mark.parametrize(
    'name',
    [
        str(path.relative_to(ROOT))
        for folder in ('.', 'docs', 'training', 'road_seg_ros/weights')
        for path in sorted((ROOT / folder).glob('*.md'))
    ],
)
def test_every_link_leads_somewhere(name: str) -> None:
    path = ROOT / name
    for target in re.findall(r'\]\(([^)#]+)\)', path.read_text(encoding='utf-8')):
        if not target.startswith('http'):
            assert (path.parent / target).exists(), target
