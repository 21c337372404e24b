"""
Queues of work on a device: what is put on a lane runs in order, on two lanes side by side.

`CudaLane` is the real one. `CpuLane` does everything at once, so that all but CUDA itself can be
run and checked on a machine without a GPU.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch

Task = Callable[[], None]  # which works on tensors that exist before and after

# Of lanes that were closed. cuBLAS keeps 32 MiB for every stream that it ever saw, so that new
# ones for each engine would fill the GPU in the end.
_idle_streams: dict[torch.device, list[torch.cuda.Stream]] = defaultdict(list)

_capturing = threading.Lock()  # CUDA can capture one graph at a time


class Lane(Protocol):
    """One queue, for the images that take the same place."""

    def context(self) -> AbstractContextManager:
        """Return a context in which tensors are made for this lane."""

    def blocks(self, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return uint8 (size,) twice: on the host, as fast to copy as can be, and the device."""

    def queue(self, *tasks: Task) -> None:
        """Begin tasks, one after the other; `wait` says when they are done."""

    def wait(self) -> None:
        """Return when everything in the queue is done."""

    def time_ms(self, task: Task) -> float:
        """Run one task on its own and return how many ms the device took."""

    def capture(self, task: Task) -> Task:
        """Return a task that does the same again, faster. Runs the task, and waits."""

    def release(self, captured: Task) -> None:
        """Free what `capture` returned."""

    def close(self) -> None:
        """Wait, and let others have the queue. Everything captured must have been released."""


class CpuLane:
    """Does everything at once. See `Lane`."""

    def context(self) -> AbstractContextManager:
        """See `Lane.context`."""
        return nullcontext()

    def blocks(self, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Lane.blocks`."""
        return torch.zeros(size, dtype=torch.uint8), torch.zeros(size, dtype=torch.uint8)

    def queue(self, *tasks: Task) -> None:
        """See `Lane.queue`."""
        for task in tasks:
            task()

    def wait(self) -> None:
        """See `Lane.wait`."""

    def time_ms(self, task: Task) -> float:
        """See `Lane.time_ms`."""
        started = time.perf_counter()
        task()
        return 1e3 * (time.perf_counter() - started)

    def capture(self, task: Task) -> Task:
        """See `Lane.capture`."""
        task()
        return task

    def release(self, captured: Task) -> None:
        """See `Lane.release`."""

    def close(self) -> None:
        """See `Lane.close`."""


class CudaLane:
    """
    A CUDA stream, and the graphs that run on it. See `Lane`.

    Its graphs never run at the same time, so they share their memory. tune: let cuDNN try its
    ways to compute each convolution; takes a second for each size of the network's input.
    """

    def __init__(self, device: torch.device, tune: bool = True) -> None:
        self._device = device
        self._tune = tune
        idle = _idle_streams[device]
        self._stream = idle.pop() if idle else torch.cuda.Stream(device)
        self._graphs: list[torch.cuda.CUDAGraph] = []

    def context(self) -> AbstractContextManager:
        """See `Lane.context`."""
        return torch.cuda.stream(self._stream)

    def blocks(self, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Lane.blocks`."""
        host = torch.zeros(size, dtype=torch.uint8, pin_memory=True)
        with self.context():
            return host, torch.zeros(size, dtype=torch.uint8, device=self._device)

    def queue(self, *tasks: Task) -> None:
        """See `Lane.queue`."""
        with self.context():
            for task in tasks:
                task()

    def wait(self) -> None:
        """See `Lane.wait`."""
        self._stream.synchronize()

    def time_ms(self, task: Task) -> float:
        """See `Lane.time_ms`."""
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.wait()
        with self.context():
            start.record()
            task()
            end.record()
        end.synchronize()
        return start.elapsed_time(end)

    def capture(self, task: Task) -> Task:
        """See `Lane.capture`."""
        graph = torch.cuda.CUDAGraph()
        pool = self._graphs[-1].pool() if self._graphs else None
        tuning = torch.backends.cudnn.flags(enabled=True, benchmark=self._tune)
        # One at a time in the whole process. In our context, which a failure leaves too.
        with _capturing, self.context(), tuning:
            task()  # loads and tunes what must not happen while capturing
            self.wait()
            failure = None
            try:
                # Not `global`: other threads of the process may allocate meanwhile.
                with torch.cuda.graph(
                    graph, pool, self._stream, capture_error_mode='thread_local'
                ):
                    try:
                        task()
                    except RuntimeError as error:
                        failure = error
                        raise
            except RuntimeError as error:  # the end of the capture fails then too
                failure = failure or error
            if failure is not None:
                try:
                    raise failure
                finally:
                    del failure  # it holds this frame, and the frame the graph
        self._graphs.append(graph)
        return graph.replay

    def release(self, captured: Task) -> None:
        """See `Lane.release`."""
        graph = captured.__self__
        self._graphs.remove(graph)
        graph.reset()

    def close(self) -> None:
        """See `Lane.close`."""
        self.wait()
        _idle_streams[self._device].append(self._stream)
