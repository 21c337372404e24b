"""Nothing that the node reads is ever run: no pickles, no eval, no shell."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*ROOT.glob('road_seg_ros/**/*.py'), *ROOT.glob('launch/*.py')])
MODULES = {'_pickle', 'cloudpickle', 'cPickle', 'dill', 'joblib', 'marshal', 'pickle', 'shelve'}
NAMES = {
    *('eval', 'exec', 'compile', '__import__', 'builtins.eval', 'builtins.exec'),
    *('os.system', 'os.popen', 'subprocess.getoutput', 'subprocess.getstatusoutput'),
    *('asyncio.create_subprocess_shell', 'importlib.import_module'),
    *('torch.load', 'torch.jit.load', 'torch.hub.load', 'torch.package.PackageImporter'),
    *('yaml.load', 'yaml.unsafe_load', 'yaml.full_load'),
}
# This one imports nothing but generated message classes: test_message_types.py.
TRUSTED = {ROOT / 'road_seg_ros' / 'bags' / 'message_types.py': {'importlib.import_module'}}
KEYWORDS = {'shell', 'allow_pickle'}  # of any call, unless the constant False


def run_from_data(source: str) -> list[str]:
    """Return `LINE: NAME` of whatever in the source could run what it reads."""
    tree = ast.parse(source)
    meaning: dict[str, str] = {}  # of a local name: what was imported under it
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split('.')[0]
                meaning[alias.asname or top] = alias.name if alias.asname else top
                found += [(node.lineno, top)] if top in MODULES else []
        elif isinstance(node, ast.ImportFrom) and node.module:
            top = node.module.split('.')[0]
            found += [(node.lineno, top)] if top in MODULES else []
            for alias in node.names:
                full_name = f'{node.module}.{alias.name}'
                meaning[alias.asname or alias.name] = full_name
                found += [(node.lineno, full_name)] if full_name in NAMES else []
    for node in ast.walk(tree):
        if isinstance(node, (ast.Name, ast.Attribute)):
            name, dot, rest = ast.unparse(node).partition('.')
            name = meaning.get(name, name) + dot + rest
            found += [(node.lineno, name)] if name in NAMES else []
        elif isinstance(node, ast.Call):
            for keyword in node.keywords:
                off = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                if keyword.arg in KEYWORDS and not off:
                    found.append((node.lineno, f'{keyword.arg}='))
    return [f'{line}: {name}' for line, name in sorted(set(found))]


@pytest.mark.parametrize('path', SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_in_the_package_runs_what_it_reads(path: Path) -> None:
    found = run_from_data(path.read_text(encoding='utf-8'))
    trusted = TRUSTED.get(path, set())
    assert [line for line in found if line.partition(': ')[2] not in trusted] == []


@pytest.mark.parametrize(
    ('source', 'found'),
    [
        ('import pickle', 'pickle'),
        ('from marshal import loads', 'marshal'),
        ('def f():\n    import shelve as s', 'shelve'),
        ('import torch\ntorch.load(path)', 'torch.load'),
        ('import torch as t\nread = t.load', 'torch.load'),
        ('from torch import load as read', 'torch.load'),
        ('import torch.hub\ntorch.hub.load(name)', 'torch.hub.load'),
        ('import numpy as np\nnp.load(path, allow_pickle=True)', 'allow_pickle='),
        ('np.load(path, allow_pickle=trusted)', 'allow_pickle='),
        ('eval(text)', 'eval'),
        ('run = exec', 'exec'),
        ('import os\nos.system(line)', 'os.system'),
        ('from os import popen', 'os.popen'),
        ('import subprocess\nsubprocess.run(line, shell=True)', 'shell='),
        ('from subprocess import Popen\nPopen(line, shell=1)', 'shell='),
        ('import yaml\nyaml.load(text, yaml.Loader)', 'yaml.load'),
    ],
)
def test_whatever_runs_data_is_found(source: str, found: str) -> None:
    assert found in [line.partition(': ')[2] for line in run_from_data(source)]


@pytest.mark.parametrize(
    'source',
    [
        'network.eval()',
        'np.load(path, allow_pickle=False)',
        "subprocess.run(['ls'], shell=False)",
        'yaml.safe_load(text)',
        'from safetensors import safe_open\nsafe_open(path)',
        're.compile(text)',
    ],
)
def test_harmless_neighbours_are_left_alone(source: str) -> None:
    assert run_from_data(source) == []
