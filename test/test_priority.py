"""Threads whose work can wait."""

import os
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from road_seg_ros import demo
from road_seg_ros.frames import Frame, Frames
from road_seg_ros.priority import LEAST, give_way
from road_seg_ros.read_ahead import ReadAhead

pytestmark = pytest.mark.skipif(
    sys.platform != 'linux' or os.getpriority(os.PRIO_PROCESS, 0) == LEAST,
    reason='threads have no priority of their own here, or the least one already',
)


def _nice() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_the_calling_thread_alone_gives_way() -> None:
    before, seen = _nice(), []

    def work() -> None:
        give_way()
        seen.append(_nice())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [LEAST]
    assert _nice() == before < LEAST


def test_a_refusal_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, 'setpriority', refuse)
    give_way()


def test_the_demo_makes_its_frames_when_the_node_leaves_a_core() -> None:
    seen = []

    def render() -> Iterator[Frame]:
        seen.append(_nice())
        yield Frame(np.zeros((1, 1, 3), np.uint8), 0, '0')

    ready = ReadAhead(demo._giving_way(Frames('', render())), 1)
    try:
        assert [frame.name for frame in ready] == ['0']
    finally:
        ready.close()
    assert seen == [LEAST]
    assert _nice() < LEAST
