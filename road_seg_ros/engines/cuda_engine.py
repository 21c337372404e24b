"""
Run everything on a CUDA device: an image goes up as it is, its mask comes down.

What lies between is captured in a CUDA graph for each size of image and each choice of outputs,
and the last few are kept. Threshold and tint travel with the image, so they may change at any
time. Two images may be under way: one is copied while the network works on the other.
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator

import numpy as np
import torch

from road_seg_ros.checkpoint import ModelInfo
from road_seg_ros.engines import EngineError, Segmentation, Wanted, not_finite
from road_seg_ros.engines.frame_buffers import Layout
from road_seg_ros.engines.lanes import CpuLane, CudaLane, Lane, Task
from road_seg_ros.engines.pixel_pipeline import PixelPipeline
from road_seg_ros.engines.torch_errors import in_one_line, is_out_of_memory
from road_seg_ros.fcn8 import FCN8

DTYPES = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}
UNDER_WAY = 2  # images, at most
KEPT = 6  # layouts of each lane whose graph is kept
BF16_CAPABILITY = (8, 0)  # Ampere


class CudaEngine:
    """
    PyTorch on a CUDA device. See `Engine`.

    network is not changed. On the device `cpu` everything but CUDA itself runs too, slowly: that
    is for tests. EngineError if the device lacks the precision or the memory.
    """

    name = 'torch'
    from_cache = False
    pipeline_type = PixelPipeline

    def __init__(
        self, network: FCN8, info: ModelInfo, device: torch.device, precision: str = 'auto'
    ) -> None:
        self.device = str(device)
        self.precision = _check_precision(precision, device)
        self._uncaptured: set[Layout] = set()  # that no graph could be captured for
        try:
            self._slots = [_Slot(self.make_lane(device)) for _ in range(UNDER_WAY)]
            with self._slots[0].lane.context():
                self._pipeline = self.pipeline_type(network, info, device, DTYPES[self.precision])
            self._slots[0].lane.wait()
        except RuntimeError as error:
            raise self._explained(error, 'the model') from error

    def make_lane(self, device: torch.device) -> Lane:
        """Return a queue on the device for the images of one slot."""
        return CudaLane(device) if device.type == 'cuda' else CpuLane()

    @torch.inference_mode()
    def submit(self, image: np.ndarray, wanted: Wanted) -> Callable[[], Segmentation]:
        """
        Begin to segment an image. See `Engine.submit`.

        RuntimeError if two are under way already, or after `close`. EngineError if the device's
        memory does not suffice.
        """
        with self._planned(image, wanted) as (slot, plan):
            plan.host_inputs.write(image, wanted)
            slot.lane.queue(plan.upload, plan.work, plan.download)
        return slot.hold(_UnderWay(slot.lane, functools.partial(self._read, plan)))

    @torch.inference_mode()
    def stage_times(self, image: np.ndarray, wanted: Wanted) -> dict[str, float]:
        """
        Return the ms that each stage of one image took, run one by one.

        copy_in and copy_out are the host's, from and to ordinary memory; upload, resize, network,
        upsample_and_threshold, overlay (if wanted) and download are the device's. Errors as for
        `submit`.
        """
        with self._planned(image, wanted) as (slot, plan):
            stages = plan.captured_stages(slot.lane)
        times = {'copy_in': _host_ms(lambda: plan.host_inputs.write(image, wanted))}
        for name, task in {'upload': plan.upload, **stages, 'download': plan.download}.items():
            times[name] = slot.lane.time_ms(task)
        times['copy_out'] = _host_ms(lambda: self._read(plan))
        return times

    def close(self) -> None:
        """Wait for what is under way, whose results can still be taken, and free the memory."""
        for slot in self._slots:
            with contextlib.suppress(RuntimeError):  # a device that is lost gives nothing back
                slot.lane.wait()
                for layout in list(slot.plans):
                    slot.forget(layout)
                slot.lane.close()
        self._slots = []
        self._pipeline = None
        self._free_unused()

    @contextlib.contextmanager
    def _planned(self, image: np.ndarray, wanted: Wanted) -> Iterator[tuple[_Slot, _Plan]]:
        """Yield a free slot and its plan for an image; an error in the block costs the plan."""
        slot = self._free_slot()
        layout = Layout.of(image, wanted)
        try:
            yield slot, self._plan(slot, layout)
        except RuntimeError as error:
            slot.forget(layout)
            raise self._explained(error, str(layout)) from error

    def _free_slot(self) -> _Slot:
        if not self._slots:
            raise RuntimeError('the engine is closed; make another')
        for slot in self._slots:
            if slot.is_free():
                slot.lane.wait()  # for an image that was given up
                return slot
        raise RuntimeError(
            f'{UNDER_WAY} images are under way already; take the result of one before the next'
        )

    def _plan(self, slot: _Slot, layout: Layout) -> _Plan:
        """
        Return the slot's plan of a layout: a new one, or, from the second time on, captured.

        A size that comes once is not worth the time.
        """
        plan = slot.plans.get(layout)
        if plan is None:
            with slot.lane.context():
                plan = slot.plans[layout] = _Plan(self._pipeline, slot.lane, layout)
        elif plan.captured is None and layout not in self._uncaptured:
            self._uncaptured.add(layout)  # a capture that fails is not tried again
            plan.captured = slot.lane.capture(plan.run_stages)
            self._uncaptured.discard(layout)
        slot.plans.move_to_end(layout)
        while len(slot.plans) > KEPT:
            slot.forget(next(iter(slot.plans)))
        return plan

    def _read(self, plan: _Plan) -> Segmentation:
        """Return a copy of what came down. ArithmeticError if that is not finite."""
        outputs = plan.host_outputs
        if not math.isfinite(outputs.peak.item()):
            raise not_finite(self)
        return Segmentation(_copy(outputs.mask), _copy(outputs.confidence), _copy(outputs.overlay))

    def _explained(self, error: RuntimeError, what: str) -> EngineError:
        """Free what nobody uses, and return an error that says what could not be done."""
        self._free_unused()
        reason = in_one_line(error)
        if is_out_of_memory(error):
            return EngineError(
                f'{self.device} has too little free memory for {what} with precision '
                f'{self.precision} ({reason}); end other programs on it, send smaller images, or '
                'set device cpu'
            )
        return EngineError(
            f'{self.device} could not prepare {what} with precision {self.precision} ({reason}); '
            'check nvidia-smi and the driver, start the node again, or set device cpu'
        )

    def _free_unused(self) -> None:
        if self.device.startswith('cuda'):
            with contextlib.suppress(RuntimeError):  # a device that is lost has nothing to free
                torch.cuda.empty_cache()


class _Plan:
    """The blocks, the tasks and, from the second image on, the captured graph of one layout."""

    def __init__(self, pipeline: PixelPipeline, lane: Lane, layout: Layout) -> None:
        host_in, device_in = lane.blocks(layout.input_bytes)
        host_out, device_out = lane.blocks(layout.output_bytes)
        self.host_inputs = layout.inputs(host_in)
        self.host_outputs = layout.outputs(host_out)
        work = pipeline.prepare(layout, layout.inputs(device_in), layout.outputs(device_out))
        self._stages = pipeline.stages(work)
        self._captured_stages: dict[str, Task] = {}
        self.captured: Task | None = None
        self.upload = lambda: device_in.copy_(host_in, non_blocking=True)
        self.download = lambda: host_out.copy_(device_out, non_blocking=True)

    def work(self) -> None:
        """Do what lies between upload and download."""
        (self.captured or self.run_stages)()

    def run_stages(self) -> None:
        """Do it stage by stage, as it is captured."""
        for stage in self._stages.values():
            stage()

    def captured_stages(self, lane: Lane) -> dict[str, Task]:
        """Return each stage as a graph of its own."""
        for name, stage in self._stages.items():
            if name not in self._captured_stages:
                self._captured_stages[name] = lane.capture(stage)
        return self._captured_stages

    def release(self, lane: Lane) -> None:
        """Free the graphs."""
        for captured in (self.captured, *self._captured_stages.values()):
            if captured is not None:
                lane.release(captured)


class _Slot:
    """A place for one image under way, with a lane and plans of its own."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.plans: OrderedDict[Layout, _Plan] = OrderedDict()  # the last used comes last
        self._image: Callable[[], _UnderWay | None] = lambda: None

    def forget(self, layout: Layout) -> None:
        """Free a plan, if there is one."""
        if (plan := self.plans.pop(layout, None)) is not None:
            plan.release(self.lane)

    def is_free(self) -> bool:
        """Whether the slot's image was taken, or given up by whoever submitted it."""
        image = self._image()
        return image is None or image.taken

    def hold(self, image: _UnderWay) -> _UnderWay:
        """Keep the slot for an image, and return that."""
        self._image = weakref.ref(image)
        return image


class _UnderWay:
    """An image that was submitted; the call waits for its result, and may be repeated."""

    def __init__(self, lane: Lane, read: Callable[[], Segmentation]) -> None:
        self._lane = lane
        self._read = read
        self._outcome: Segmentation | ArithmeticError | None = None

    @property
    def taken(self) -> bool:
        """Whether the result has left the slot's blocks."""
        return self._outcome is not None

    def __call__(self) -> Segmentation:
        if self._outcome is None:
            self._lane.wait()
            try:
                self._outcome = self._read()
            except ArithmeticError as error:
                self._outcome = error
        if isinstance(self._outcome, ArithmeticError):
            raise self._outcome
        return self._outcome


def _copy(tensor: torch.Tensor | None) -> np.ndarray | None:
    return None if tensor is None else tensor.numpy().copy()


def _host_ms(task: Callable[[], object]) -> float:
    started = time.perf_counter()
    task()
    return 1e3 * (time.perf_counter() - started)


def _check_precision(precision: str, device: torch.device) -> str:
    """Return the precision for a device. EngineError if it has not got the one asked for."""
    if precision == 'auto':
        return 'fp16' if device.type == 'cuda' else 'fp32'
    if precision not in DTYPES:
        raise EngineError(
            f'engine torch runs fp32, fp16 and bf16, not {precision}; set one of these, or engine '
            'openvino and device cpu'
        )
    if precision == 'bf16' and device.type == 'cuda':
        capability = torch.cuda.get_device_capability(device)
        if capability < BF16_CAPABILITY:
            raise EngineError(
                'precision bf16 needs a GPU of compute capability 8.0 or more, and '
                f'{device} has {capability[0]}.{capability[1]}; set precision fp16 or fp32'
            )
    return precision
