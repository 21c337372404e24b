"""constraints.txt names one version of everything that setup.py asks for and does not pin."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PYTHONS = ('3.10', '3.11', '3.12', '3.13', '3.14')
LINES = (ROOT / 'constraints.txt').read_text(encoding='utf-8').splitlines()
CONSTRAINTS = [Requirement(line) for line in LINES if line and not line.startswith('#')]


@pytest.fixture
def required(monkeypatch: pytest.MonkeyPatch) -> list[Requirement]:
    """Return the direct dependencies of setup.py, of all extras, that it does not pin."""
    given: dict = {}
    recorder = SimpleNamespace(
        setup=lambda **keywords: given.update(keywords), find_packages=lambda **_: []
    )
    monkeypatch.setitem(sys.modules, 'setuptools', recorder)
    monkeypatch.chdir(ROOT)
    runpy.run_path('setup.py')
    return [
        Requirement(text)
        for texts in (given['install_requires'], *given['extras_require'].values())
        for text in texts
        if '==' not in text
    ]


def _versions(python: str) -> dict[str, str]:
    """Return the version of each name that constraints.txt gives one Python."""
    versions = {}
    for constraint in CONSTRAINTS:
        if constraint.marker and not constraint.marker.evaluate({'python_version': python}):
            continue
        name = canonicalize_name(constraint.name)
        assert name not in versions, f'{name} has two versions on Python {python}'
        [exact] = constraint.specifier
        assert exact.operator == '=='
        versions[name] = exact.version
    return versions


@pytest.mark.parametrize('python', PYTHONS)
def test_every_dependency_has_one_version_within_its_bounds(
    required: list[Requirement], python: str
) -> None:
    versions = _versions(python)
    assert set(versions) == {canonicalize_name(requirement.name) for requirement in required}
    for requirement in required:
        version = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f'{requirement} is not met by {version}'


def test_every_dependency_has_a_lower_bound(required: list[Requirement]) -> None:
    for requirement in required:
        operators = {specifier.operator for specifier in requirement.specifier}
        assert operators & {'>=', '=='}, f'{requirement} has none'
