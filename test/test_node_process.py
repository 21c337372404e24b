"""Whoever starts a node ends it, however it is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from graph import children, wait_for

from road_seg_ros.node_process import running_node, wait_or_kill
from road_seg_ros.stop import STOP_SIGNALS

DEADLINE_S = 60.0


@pytest.mark.parametrize('number', STOP_SIGNALS)
def test_an_interrupt_while_the_node_starts_takes_it_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    handlers = [signal.getsignal(number) for number in STOP_SIGNALS]
    start, started = subprocess.Popen, []

    def interrupted(*arguments: Any, **options: Any) -> subprocess.Popen:
        started.append(start(*arguments, **options))
        os.kill(os.getpid(), number)
        return started[0]

    monkeypatch.setattr(subprocess, 'Popen', interrupted)
    with open(tmp_path / 'log', 'w') as log, pytest.raises(KeyboardInterrupt):
        with running_node([], stdout=log, stderr=log):
            pytest.fail('the block was entered')
    assert started[0].returncode is not None
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == handlers


def test_a_process_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('road_seg_ros.node_process.STOP_TIMEOUT_S', 0.1)
    process = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
    wait_or_kill(process)
    assert process.returncode == -signal.SIGKILL


def test_a_terminated_demo_takes_its_node_along(tmp_path: Path, tiny_model: Path) -> None:
    command = [sys.executable, '-m', 'road_seg_ros.demo', '--out', str(tmp_path)]
    command += ['--', '-p', 'engine:=torch', '-p', f'model_path:={tiny_model}']
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: 'road_seg_ros.main' in str(children(process.pid)), 'the node to start')
    started = children(process.pid)
    process.terminate()
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert 'road_seg_ros/demo.py' not in errors  # in no traceback; the node may show one
    assert not [pid for pid in started if Path(f'/proc/{pid}').exists()]
