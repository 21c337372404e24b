"""What a check of a GPU finds, and the report on it."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from road_seg_ros.benchmark import machine
from road_seg_ros.checkpoint import InputSize, ModelInfo
from road_seg_ros.engines.torch_errors import in_one_line
from road_seg_ros.fcn8 import FCN8
from road_seg_ros.markdown import table
from road_seg_ros.whole_file import write_whole

FULL, COMPACT = 'full width, fc1024', 'compact'  # the models that are checked


@dataclasses.dataclass(frozen=True)
class Finding:
    """What was looked at, what was found, what was asked for, and whether it is so (or None)."""

    what: str
    found: str
    wanted: str = ''
    passed: bool | None = None

    def __post_init__(self) -> None:
        if self.passed is not None:  # it may be numpy's, which is neither True nor False
            object.__setattr__(self, 'passed', bool(self.passed))


@dataclasses.dataclass(frozen=True)
class Extent:
    """How much to measure: everything on a GPU, little on a CPU."""

    width: float  # of the network in place of the full one
    input: InputSize
    sizes: Sequence[tuple[int, int]]  # (height, width) of images; KITTI's first
    precisions: Sequence[str]
    precision: str  # the one that is timed
    repeats: int
    images: int  # of the training data
    batches: int
    epochs: int  # of the original recipe
    overrides: Sequence[str]  # of the recipes


@dataclasses.dataclass
class Check:
    """What is checked, on what, and where the report goes."""

    device: torch.device
    extent: Extent
    models: dict[str, tuple[FCN8, ModelInfo]]
    data: Path | None
    out: Path
    found: dict[str, list[Finding]] = dataclasses.field(default_factory=dict)
    figures: dict[str, Any] = dataclasses.field(default_factory=dict)
    left: list[str] = dataclasses.field(default_factory=list)  # parts that have not ended
    here: machine.Machine = dataclasses.field(default_factory=machine.this_machine)
    started: float = dataclasses.field(default_factory=time.monotonic)

    @property
    def passed(self) -> bool:
        """Whether every part has ended and nothing was found that did not pass."""
        findings = [finding for part in self.found.values() for finding in part]
        return not self.left and all(finding.passed is not False for finding in findings)

    def judge(self, passed: bool | None) -> bool | None:
        """Return whether a target was met; None on a CPU, for which it is not meant."""
        return passed if self.device.type == 'cuda' else None

    def run(self, parts: dict[str, Callable[[Check], Iterator[Finding]]]) -> None:
        """Run parts, and write the report after each finding, for a run that is cut short."""
        self.left = list(parts)
        self._write()
        for name, part in parts.items():
            self.found[name] = []
            for finding in guarded(name, lambda p=part: p(self)):
                self.found[name].append(finding)
                state = {True: 'pass', False: 'FAIL', None: '    '}[finding.passed]
                print(f'{self._elapsed():5.0f} s  {state}  {finding.what}: {finding.found}')
                sys.stdout.flush()
                self._write()
            self.left.remove(name)
        self._write()

    def _elapsed(self) -> float:
        return time.monotonic() - self.started

    def _write(self) -> None:
        cuda = torch.version.cuda, torch.backends.cudnn.version()
        lines = [
            '# GPU check',
            '',
            self.here.describe(),
            f'- CUDA {cuda[0]}, cuDNN {cuda[1]}; load {machine.load()[0]:.1f}; ran on '
            f'{self.device} for {self._elapsed():.0f} s',
        ]
        if self.left:
            lines.append(f'- **cut short**, without all of {", ".join(self.left)}')
        for name, findings in self.found.items():
            rows = [
                (f.what, f.found, f.wanted, {True: 'yes', False: '**no**', None: ''}[f.passed])
                for f in findings
            ]
            lines += ['', f'## {name}', '', table(('what', 'found', 'wanted', 'passed'), rows)]
        report = {
            'machine': dataclasses.asdict(self.here),
            'device': str(self.device),
            'cuda': cuda[0],
            'cudnn': cuda[1],
            'passed': self.passed,
            'cut_short': self.left,
            'seconds': self._elapsed(),
            'findings': {
                name: [dataclasses.asdict(finding) for finding in findings]
                for name, findings in self.found.items()
            },
            'figures': self.figures,
        }
        for name, text in (
            ('gpu_check.md', '\n'.join(lines) + '\n'),
            ('gpu_check.json', json.dumps(report, indent=1, default=float)),
        ):
            write_whole(self.out / name, text.encode())


def guarded(what: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield what a check finds, and what it raised instead of going on."""
    try:
        yield from check()
    except Exception as error:  # the next check may still tell something
        yield Finding(what, f'{type(error).__name__}: {in_one_line(error)}', 'no error', False)
