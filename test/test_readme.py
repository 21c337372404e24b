"""The tables of the README say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from road_seg_ros.image_msgs import LAYOUTS
from road_seg_ros.parameters import DECLARATIONS, Declaration

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


def test_every_launch_argument_has_its_row() -> None:
    source = (ROOT / 'launch' / 'seg.launch.py').read_text(encoding='utf-8')
    names = re.findall(r"_argument\(\s*'(\w+)'", source)
    names += re.search(r'NODE_PARAMETERS = \((.+)\)', source)[1].replace("'", '').split(', ')
    section = README.split('### Launch arguments')[1].split('\n## ')[0]
    first_cells = [line.split('|')[1] for line in section.splitlines() if line.startswith('| `')]
    rows = set(re.findall(r'`(\w+)`', ''.join(first_cells)))
    assert rows == set(names)


@pytest.mark.parametrize(
    'name',
    ['README.md', 'PERFORMANCE.md', 'training/README.md', 'road_seg_ros/weights/README.md'],
)
def test_every_link_leads_somewhere(name: str) -> None:
    path = ROOT / name
    for target in re.findall(r'\]\(([^)#]+)\)', path.read_text(encoding='utf-8')):
        if not target.startswith('http'):
            assert (path.parent / target).exists(), target
