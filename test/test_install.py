"""The package installs with pip and with colcon, with every file where ROS looks for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from xml.etree import ElementTree

import pytest

from road_seg_ros import __version__

ROOT = Path(__file__).resolve().parent.parent
SHARED_FILES = (
    'package.xml',
    'launch/seg.launch.py',
    'launch/replay.launch.py',
    'config/seg.yaml',
    'config/seg.rviz',
    'config/replay_qos.yaml',
    'config/foxglove_layout.json',
    'config/fastdds.xml',
    'config/sros2_policy.xml',
    'weights/road_seg_compact.safetensors',
    'weights/README.md',
)
# colcon runs `setup.py develop`, which newer setuptools no longer has: --symlink-install would
# silently copy instead. colcon-core itself asks for an older one.
COLCON = ('colcon-common-extensions==0.3.0', 'colcon-core==0.21.3', 'setuptools==79.0.1')
# What a user would do with an installation: load the model that came with it, from elsewhere.
LOAD_DEFAULT_MODEL = (
    'import road_seg_ros; from road_seg_ros import checkpoint; checkpoint.load(""); '
    'print(checkpoint.find("")); print(road_seg_ros.__file__)'
)


@pytest.fixture(scope='module')
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clean copy of the source tree: what git knows, as it is now."""
    target = tmp_path_factory.mktemp('workspace') / 'src' / 'road_seg_ros'
    listing = ['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard']
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, names.split('\0')):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes((ROOT / name).read_bytes())
    return target


def test_the_version_is_the_same_wherever_it_stands() -> None:
    package = ElementTree.parse(ROOT / 'package.xml').getroot()
    # As catkin_prepare_release looks for it.
    [version] = re.findall(r"^\s*version='(.+)',$", (ROOT / 'setup.py').read_text(), re.MULTILINE)
    assert version == package.findtext('version') == __version__


def test_both_licences_are_named() -> None:
    package = ElementTree.parse(ROOT / 'package.xml').getroot()
    licences = {element.text: element.get('file') for element in package.iter('license')}
    assert all((ROOT / file).is_file() for file in licences.values())
    setup = (ROOT / 'setup.py').read_text()
    assert f"license='{' AND '.join(licences)}'" in setup
    card = (ROOT / licences['CC-BY-NC-SA-3.0']).read_text()
    assert 'Licence of the weights: CC BY-NC-SA 3.0' in card


def _run(*command: object, **options: object) -> str:
    result = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


def _environment(**changes: str) -> dict[str, str]:
    environment = {k: v for k, v in os.environ.items() if k not in ('PYTHONPATH', 'VIRTUAL_ENV')}
    # The ROS wheels set this for their own Python; others would miss their libraries.
    environment.pop('_ROS_WHEELS_BOOTSTRAP_COMPLETE', None)
    return environment | changes


def _borrow_packages(target: Path) -> None:
    """Let the environment at target import what is installed here, after its own packages."""
    site = next(target.glob('lib/python*/site-packages'))
    (site / 'borrowed.pth').write_text(sysconfig.get_path('purelib') + '\n')


def _installed_files(share: Path) -> None:
    for name in SHARED_FILES:
        assert (share / name).is_file(), name


def test_pip_install(source: Path, tmp_path: Path) -> None:
    target = tmp_path / 'venv'
    venv.create(target, with_pip=True)
    python = target / 'bin' / 'python'
    _run(python, '-m', 'pip', 'install', '--no-deps', source, env=_environment())
    _borrow_packages(target)
    _installed_files(target / 'share' / 'road_seg_ros')
    index = target / 'share/ament_index/resource_index/packages/road_seg_ros'
    assert index.is_file()
    assert (target / 'bin' / 'road_seg_node').is_file()
    assert (target / 'bin' / 'road_seg_demo').is_file()
    assert (target / 'bin' / 'kitti_to_bag').is_file()
    output = _run(python, '-c', LOAD_DEFAULT_MODEL, cwd=tmp_path, env=_environment())
    model, package = output.splitlines()
    assert model == str(target / 'share/road_seg_ros/weights/road_seg_compact.safetensors')
    assert package.startswith(str(target))
    help_text = _run(target / 'bin' / 'road_seg_demo', '--help', cwd=tmp_path, env=_environment())
    assert 'rosbag2' in help_text


@pytest.fixture(scope='module')
def colcon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the site-packages of an environment with colcon."""
    target = tmp_path_factory.mktemp('colcon')
    venv.create(target, with_pip=True)
    _run(target / 'bin' / 'python', '-m', 'pip', 'install', '-q', *COLCON, env=_environment())
    return next(target.glob('lib/python*/site-packages'))


@pytest.mark.parametrize('symlink', [False, True], ids=['copied', 'symlinked'])
def test_colcon_build(source: Path, colcon: Path, tmp_path: Path, symlink: bool) -> None:
    # As `python3 -m colcon` in an activated environment: the program gets this Python's shebang.
    environment = _environment(PYTHONPATH=str(colcon))
    options = ['--symlink-install'] if symlink else []
    command = [sys.executable, '-m', 'colcon', 'build', *options, '--base-paths', source]
    _run(*command, cwd=tmp_path, env=environment)
    prefix = tmp_path / 'install' / 'road_seg_ros'
    share = prefix / 'share' / 'road_seg_ros'
    _installed_files(share)
    assert (share / 'config' / 'seg.yaml').is_symlink() == symlink
    assert (prefix / 'share/ament_index/resource_index/packages/road_seg_ros').is_file()
    node = prefix / 'lib' / 'road_seg_ros' / 'road_seg_node'
    setup = f'source {tmp_path}/install/setup.bash'

    def shell(line: str) -> subprocess.CompletedProcess[str]:
        command = ['bash', '-c', f'{setup} && {line}']
        return subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=_environment()
        )

    loaded = shell(f"{sys.executable} -c '{LOAD_DEFAULT_MODEL}'")
    assert loaded.returncode == 0, loaded.stderr
    model, package = loaded.stdout.splitlines()
    assert str(tmp_path) in package
    assert str(source if symlink else tmp_path) in model
    # The program runs from where `ros2 run` finds it, as far as its own error message.
    started = shell(f'{node} --ros-args -p device:=gpu')
    assert started.returncode == 1
    assert "device must be auto, cpu, cuda, cuda:N, got 'gpu'" in started.stderr
    converter = shell(f'{node.with_name("kitti_to_bag")} --help')
    assert 'SOURCE OUT' in converter.stdout
