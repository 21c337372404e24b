"""How fast the CUDA engine is, how its time grows, and how soon it is ready."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from road_seg_ros import checkpoint, synthetic
from road_seg_ros.benchmark import growth, startup
from road_seg_ros.benchmark.samples import Choice, Model
from road_seg_ros.benchmark.timing import Durations, Sampler, interleave, timed
from road_seg_ros.checkpoint import InputSize, ModelInfo
from road_seg_ros.engines import Wanted
from road_seg_ros.engines.cuda_engine import DTYPES, CudaEngine
from road_seg_ros.engines.lanes import CpuLane, CudaLane, Lane, Task
from road_seg_ros.engines.pixel_pipeline import PixelPipeline, Work
from road_seg_ros.engines.torch_errors import in_one_line
from road_seg_ros.fcn8 import FCN8
from road_seg_ros.segmenter import RoadSegmenter
from training.gpu_correctness import TINT, UNTIL_REPLAY
from training.gpu_report import COMPACT, FULL, Check, Finding

BARE, MASK, CONFIDENCE = 'bare network', 'image to mask', 'image to mask and confidence'

# Targets for a GPU such as an H200.
MOST_MEDIAN_MS, MOST_P99_MS, MOST_OF_BARE = 1.0, 2.0, 2.0
LEAST_FRAMES_PER_S = 2000
MOST_GPU_MB = 1200
MOST_STARTUP_S = 8


def check_speed(check: Check) -> Iterator[Finding]:
    """Time both models beside their bare networks, one image at a time and in a stream."""
    extent = check.extent
    images = [synthetic.render(seed, *extent.sizes[0]).image for seed in range(8)]
    for name, (network, info) in check.models.items():
        info = dataclasses.replace(info, input=extent.input)
        for finding in _time_model(check, name, network, info, images):
            judged = finding if name == FULL else Finding(finding.what, finding.found)
            yield dataclasses.replace(
                judged, what=f'{name}: {finding.what}', passed=check.judge(judged.passed)
            )


def _time_model(
    check: Check, name: str, network: FCN8, info: ModelInfo, images: Sequence[np.ndarray]
) -> Iterator[Finding]:
    # A function, so that the memory of one model is free before the next is measured.
    extent = check.extent
    if check.device.type == 'cuda':
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(check.device)
    segmenter, ready_s = open_segmenter(CudaEngine, network, info, check, extent.precision)
    rate = stream_rate(segmenter, images, 4 * extent.repeats)
    yield Finding('ready, in a process that has CUDA', f'{ready_s:.2f} s')
    if check.device.type == 'cuda':
        reserved = torch.cuda.max_memory_reserved(check.device) / 1e6
        yield Finding('GPU memory that PyTorch reserves', f'{reserved:.0f} MB')

    size = info.input.fit(*extent.sizes[0])
    bare = bare_network(network, size, check.device, segmenter.engine)
    samplers = {
        MASK: mask_sampler(segmenter),
        CONFIDENCE: timed(CONFIDENCE, segmenter),
        BARE: timed(BARE, lambda _: bare()),
    }
    taken = {k: v[k] for k, v in interleave(samplers, images, extent.repeats).items()}
    wanted = Wanted(info.threshold, tint=TINT)
    by_stage = {'': lambda image: segmenter.engine.stage_times(image, wanted)}
    stages = interleave(by_stage, images, -(-extent.repeats // 5))['']
    segmenter.close()
    check.figures[name] = {
        **{key: dataclasses.asdict(durations) for key, durations in taken.items()},
        'stages': {key: stage.median for key, stage in stages.items()},
        'frames_per_s': rate,
    }
    yield from _judge_speed(taken, stages, rate)


def _judge_speed(
    taken: dict[str, Durations], stages: dict[str, Durations], frames_per_s: float
) -> Iterator[Finding]:
    mask, bare = taken[MASK], taken[BARE]
    for key in (BARE, CONFIDENCE):
        yield Finding(key, _ms(taken[key]))
    yield Finding(
        MASK,
        _ms(mask),
        f'median {MOST_MEDIAN_MS:g} ms, p99 {MOST_P99_MS:g} ms at most',
        mask.median <= MOST_MEDIAN_MS and mask.p99 <= MOST_P99_MS,
    )
    ratio = mask.median / bare.median
    yield Finding(
        'image to mask, against the bare network',
        f'{ratio:.2f} times',
        f'{MOST_OF_BARE:g} times at most',
        ratio <= MOST_OF_BARE,
    )
    yield Finding(
        'stream, two under way',
        f'{frames_per_s:.0f} frames/s',
        f'{LEAST_FRAMES_PER_S} at least',
        frames_per_s >= LEAST_FRAMES_PER_S,
    )
    medians = ', '.join(f'{key} {stage.median:.3f}' for key, stage in stages.items())
    yield Finding('stages with confidence and overlay, ms', medians)


def open_segmenter(
    engine_type: type[CudaEngine], network: FCN8, info: ModelInfo, check: Check, precision: str
) -> tuple[RoadSegmenter, float]:
    """Return a segmenter that is ready for KITTI's size, and the s that it took."""
    image = synthetic.render(1, *check.extent.sizes[0]).image
    began = time.perf_counter()
    segmenter = RoadSegmenter(engine_type(network, info, check.device, precision), info)
    for _ in range(UNTIL_REPLAY):
        segmenter.submit(image, confidence=False)()
    return segmenter, time.perf_counter() - began


def mask_sampler(segmenter: RoadSegmenter) -> Sampler[np.ndarray]:
    """Return a sampler from an image to its mask."""
    return timed(MASK, lambda image: segmenter.submit(image, confidence=False)())


def stream_rate(segmenter: RoadSegmenter, images: Sequence[np.ndarray], count: int) -> float:
    """Return the frames a second of a stream of `count` images; the median of three."""
    rates = []
    for _ in range(3):
        stream = itertools.islice(itertools.cycle(images), count)
        began = time.perf_counter()
        for _ in segmenter.stream(stream, confidence=False):
            pass
        rates.append(count / (time.perf_counter() - began))
    return sorted(rates)[1]


def bare_network(
    network: FCN8, size: tuple[int, int], device: torch.device, engine: CudaEngine
) -> Task:
    """Return a call that runs the network alone, captured, and waits."""
    dtype = DTYPES[engine.precision]
    network = copy.deepcopy(network).eval().to(device, dtype, memory_format=torch.channels_last)
    images = torch.randn((1, 3, *size), dtype=dtype, device=device)  # zeros are quicker
    images = images.contiguous(memory_format=torch.channels_last)
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    lane = engine.make_lane(device)
    with torch.inference_mode():
        captured = lane.capture(lambda: network(images))

    @torch.inference_mode()
    def run() -> None:
        lane.queue(captured)
        lane.wait()

    return run


def check_growth(check: Check) -> Iterator[Finding]:
    """See how time grows with the image, the network's own size held constant."""
    network, info = check.models[COMPACT]
    size = check.extent.input
    info = dataclasses.replace(
        info, input=InputSize(size.height, size.width, keep_aspect_ratio=False)
    )
    segmenter = RoadSegmenter(
        CudaEngine(network, info, check.device, check.extent.precision), info
    )
    image = synthetic.render(1, *check.extent.sizes[0]).image
    found = growth.measure({COMPACT: segmenter}, image, max(2, check.extent.repeats // 10))
    segmenter.close()
    line, durations = found[COMPACT].line, found[COMPACT].durations
    check.figures['growth'] = {key: value.median for key, value in durations.items()}
    yield Finding(
        'ms by size of the image',
        ', '.join(f'{key} {value.median:.2f}' for key, value in durations.items()),
    )
    yield Finding(
        'line through them',
        f'{line.base_ms:.2f} ms + {line.ms_per_megapixel:.3f} ms a megapixel, R2 '
        f'{line.r_squared:.3f}',
        'R2 0.95 at least',
        check.judge(line.r_squared >= 0.95),
    )


def check_startup(check: Check) -> Iterator[Finding]:
    """Start processes with the full network, as the node does, and see what memory they take."""
    network, info = check.models[FULL]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'full.safetensors'
        checkpoint.save(path, network, dataclasses.replace(info, input=check.extent.input))
        found = startup.measure(
            Model(str(path), str(check.device)), Choice('torch', check.extent.precision), 1
        )
    check.figures['startup'] = dataclasses.asdict(found)
    stages = ', '.join(f'{name} {seconds:.1f}' for name, seconds in found.stages_s.items())
    yield Finding(
        'start to first mask, files in memory',
        f'{found.total_s:.1f} s ({stages})',
        f'{MOST_STARTUP_S} s at most',
        check.judge(found.total_s <= MOST_STARTUP_S),
    )
    yield Finding('memory of the process', f'{found.resident_mb:.0f} MB')
    if found.gpu_mb is not None:
        yield Finding(
            "GPU memory of the process, CUDA's context with it",
            f'{found.gpu_mb:.0f} MB',
            f'{MOST_GPU_MB} MB at most',
            None if np.isnan(found.gpu_mb) else found.gpu_mb <= MOST_GPU_MB,
        )


class UntunedEngine(CudaEngine):
    """With the convolutions that cuDNN takes without trying."""

    def make_lane(self, device: torch.device) -> Lane:
        """See `CudaEngine.make_lane`."""
        return CudaLane(device, tune=False) if device.type == 'cuda' else CpuLane()


class CompiledPipeline(PixelPipeline):
    """With every stage compiled by torch.compile, as far as that takes it."""

    def stages(self, work: Work) -> dict[str, Task]:
        """See `PixelPipeline.stages`."""
        stages = super().stages(work)
        return {name: torch.compile(stage, dynamic=False) for name, stage in stages.items()}


class CompiledEngine(CudaEngine):
    """With such a pipeline."""

    pipeline_type = CompiledPipeline


def check_options(check: Check) -> Iterator[Finding]:
    """Time what the engine could do otherwise, and what that costs at the start."""
    network, info = check.models[FULL]
    info = dataclasses.replace(info, input=check.extent.input)
    precision = check.extent.precision
    options = {
        'as it is': (CudaEngine, precision),
        'bf16': (CudaEngine, 'bf16'),
        'fp32': (CudaEngine, 'fp32'),
        'cuDNN untuned': (UntunedEngine, precision),
    }
    if check.device.type == 'cuda':  # on a CPU it would need a C++ compiler
        options['torch.compile'] = CompiledEngine, precision
    image = synthetic.render(2, *check.extent.sizes[0]).image
    for name, (engine_type, precision) in options.items():
        try:
            segmenter, ready_s = open_segmenter(engine_type, network, info, check, precision)
        except Exception as error:
            if engine_type is not CompiledEngine:  # which needs a C compiler
                raise
            yield Finding(
                f'{FULL}, {name}', f'not here: {type(error).__name__}: {in_one_line(error)}'
            )
            continue
        sampler = {name: mask_sampler(segmenter)}
        taken = interleave(sampler, [image], check.extent.repeats)[name][MASK]
        segmenter.close()
        check.figures[f'option: {name}'] = {'median_ms': taken.median, 'ready_s': ready_s}
        yield Finding(f'{FULL}, {name}', f'{_ms(taken)}; ready after {ready_s:.2f} s')


def _ms(durations: Durations) -> str:
    return f'median {durations.median:.3f} ms, p95 {durations.p95:.3f}, p99 {durations.p99:.3f}'
