"""A CUDA lane asks PyTorch for the right things; what CUDA makes of them needs a GPU."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections import defaultdict
from functools import partial

import pytest
import torch

from road_seg_ros.engines import lanes
from road_seg_ros.engines.lanes import CudaLane

DEVICE = torch.device('cuda', 0)


class FakeCuda:
    """Stands in for the parts of torch.cuda that a lane uses; writes down what is done."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.streams = 0
        self.pools: list[object] = []
        outer = self

        class Stream:
            def __init__(self, device: torch.device) -> None:
                assert device == DEVICE
                outer.streams += 1

            def synchronize(self) -> None:
                outer.done.append('wait')

        class Graph:
            def replay(self) -> None:
                outer.done.append('replay')

            def reset(self) -> None:
                outer.done.append('reset')

            def pool(self) -> object:
                return self

        @contextlib.contextmanager
        def stream(stream: Stream):
            outer.done.append('enter')
            yield
            outer.done.append('leave')

        @contextlib.contextmanager
        def graph(graph: Graph, pool: object, stream: Stream, capture_error_mode: str):
            assert torch.backends.cudnn.benchmark
            assert capture_error_mode == 'thread_local'
            outer.pools.append(pool)
            outer.done.append('capture')
            try:
                yield
            except RuntimeError:
                raise RuntimeError('CUDA error: capture was invalidated')  # noqa: B904
            outer.done.append('captured')

        for name, fake in {
            'Stream': Stream,
            'CUDAGraph': Graph,
            'stream': stream,
            'graph': graph,
        }.items():
            patch.setattr(torch.cuda, name, fake)
        patch.setattr(lanes, '_idle_streams', defaultdict(list))


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    return FakeCuda(monkeypatch)


def test_tasks_run_in_order_on_the_stream(cuda: FakeCuda) -> None:
    lane = CudaLane(DEVICE)
    lane.queue(lambda: cuda.done.append('first'), lambda: cuda.done.append('second'))
    lane.wait()
    assert cuda.done == ['enter', 'first', 'second', 'leave', 'wait']


def test_a_task_runs_once_before_it_is_captured(cuda: FakeCuda) -> None:
    lane = CudaLane(DEVICE)
    replay = lane.capture(lambda: cuda.done.append('task'))
    assert cuda.done == ['enter', 'task', 'wait', 'capture', 'task', 'captured', 'leave']
    assert not torch.backends.cudnn.benchmark
    lane.queue(replay)
    assert cuda.done[-3:] == ['enter', 'replay', 'leave']


def test_graphs_share_the_memory_of_one_that_still_lives(cuda: FakeCuda) -> None:
    lane = CudaLane(DEVICE)
    first, second = lane.capture(int), lane.capture(int)
    assert cuda.pools == [None, first.__self__]
    lane.release(second)
    lane.capture(int)
    assert cuda.pools[-1] is first.__self__
    assert cuda.done.count('reset') == 1
    assert CudaLane(DEVICE).capture(int) and cuda.pools[-1] is None  # of another lane


def test_a_capture_that_fails_leaves_no_graph_and_lets_others_capture(cuda: FakeCuda) -> None:
    lane = CudaLane(DEVICE)
    with pytest.raises(ZeroDivisionError):
        lane.capture(lambda: 1 / 0)
    assert not torch.backends.cudnn.benchmark
    lane.capture(int)
    assert cuda.pools == [None]


def test_a_capture_that_fails_says_why(cuda: FakeCuda) -> None:
    def fail() -> None:
        if cuda.done[-1] == 'capture':
            raise RuntimeError('CUDA out of memory')

    with pytest.raises(RuntimeError, match='out of memory'):
        CudaLane(DEVICE).capture(fail)


def test_a_capture_that_fails_holds_no_memory(cuda: FakeCuda) -> None:
    class Buffer:
        pass

    def fail(_: Buffer) -> None:
        if cuda.done[-1] == 'capture':
            raise RuntimeError('CUDA out of memory')

    buffer = Buffer()
    alive = weakref.ref(buffer)
    gc.collect()
    gc.disable()  # the collector would do it late, and by chance
    try:
        with contextlib.suppress(RuntimeError):
            CudaLane(DEVICE).capture(partial(fail, buffer))
        assert cuda.done[-1] == 'capture'
        del buffer
        assert alive() is None
    finally:
        gc.enable()


def test_closed_lanes_pass_their_streams_on(cuda: FakeCuda) -> None:
    for _ in range(5):
        pair = CudaLane(DEVICE), CudaLane(DEVICE)
        for lane in pair:
            lane.close()
    assert cuda.streams == 2
    assert CudaLane(DEVICE)._stream is not CudaLane(DEVICE)._stream
