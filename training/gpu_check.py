"""
Check everything that needs a GPU, once: correctness, speed, memory, start-up and training.

    python -m training.gpu_check --out DIR
    python -m training.gpu_check --out DIR --model model.safetensors --data KITTI_DIR
    python -m training.gpu_check --out DIR --device cpu    # the same, small: to check the check

Takes less than 8 minutes and writes gpu_check.md and gpu_check.json to DIR, anew after each part,
so that one that is cut short leaves what it found. Needs torch, numpy, OpenCV and safetensors; the
part about training needs Lightning too, and says so where it is missing. The exit status is 0 if
everything passed, 1 if something did not, 2 if there is no GPU or the arguments are wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import dataclasses
import itertools
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import cv2
import numpy as np
import torch

from road_seg_ros import checkpoint, synthetic
from road_seg_ros.benchmark import growth, machine, startup
from road_seg_ros.benchmark.samples import Choice, Model
from road_seg_ros.benchmark.timing import Durations, Sampler, interleave, timed
from road_seg_ros.checkpoint import CheckpointError, InputSize, ModelInfo
from road_seg_ros.engines import Wanted
from road_seg_ros.engines.cuda_engine import DTYPES, CudaEngine
from road_seg_ros.engines.lanes import CpuLane, CudaLane, Lane, Task
from road_seg_ros.engines.pixel_pipeline import PixelPipeline, Work
from road_seg_ros.fcn8 import FCN8
from road_seg_ros.markdown import table
from road_seg_ros.segmenter import RoadSegmenter
from training import gpu_correctness
from training.gpu_correctness import Finding, Subject, guarded

KITTI_SIZE = (375, 1242)
CONFIGS = Path(__file__).parent / 'configs'
FULL, COMPACT = 'full width, fc1024', 'compact'
BARE, MASK, CONFIDENCE = 'bare network', 'image to mask', 'image to mask and confidence'
SEED_EPOCHS, SEED_IMAGES = 50, 289  # of the original recipe, on all of KITTI Road

# Targets for a GPU such as an H200.
MOST_MEDIAN_MS, MOST_P99_MS, MOST_OF_BARE = 1.0, 2.0, 2.0
LEAST_FRAMES_PER_S = 2000
MOST_GPU_MB = 1200
MOST_STARTUP_S = 8
LEAST_UTILISATION = 0.8
MOST_SEED_S = 40


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
    overrides: Sequence[str]  # of the recipes


ON_GPU = Extent(
    width=1.0,
    input=InputSize(160, 576),
    sizes=(KITTI_SIZE, (480, 640), (64, 64), (97, 131), (1080, 1920), (2160, 3840)),
    precisions=('fp32', 'fp16', 'bf16'),
    precision='fp16',
    repeats=500,
    images=SEED_IMAGES,
    batches=40,
    overrides=(),
)
ON_CPU = Extent(
    width=0.05,
    input=InputSize(64, 96),
    sizes=((75, 124), (97, 131)),
    precisions=('fp32', 'bf16'),
    precision='fp32',
    repeats=5,
    images=6,
    batches=2,
    overrides=('width=0.05', 'input_height=32', 'input_width=64', 'batch_size=2'),
)


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
    started: float = dataclasses.field(default_factory=time.monotonic)

    @property
    def passed(self) -> bool:
        """Whether nothing was found that did not pass."""
        return not any(finding.passed is False for part in self.found.values() for finding in part)

    def judge(self, passed: bool | None) -> bool | None:
        """Return whether a target was met; None on a CPU, for which it is not meant."""
        return passed if self.device.type == 'cuda' else None

    def run(self, parts: dict[str, Callable[[Check], Iterator[Finding]]]) -> None:
        """Run parts, and write the report after each finding's part."""
        for name, part in parts.items():
            self.found[name] = []
            for finding in guarded(name, lambda p=part: p(self)):
                self.found[name].append(finding)
                state = {True: 'pass', False: 'FAIL', None: '    '}[finding.passed]
                print(f'{self._elapsed():5.0f} s  {state}  {finding.what}: {finding.found}')
                sys.stdout.flush()
            self._write()

    def _elapsed(self) -> float:
        return time.monotonic() - self.started

    def _write(self) -> None:
        about = machine.this_machine()
        cuda = torch.version.cuda, torch.backends.cudnn.version()
        lines = [
            '# GPU check',
            '',
            about.describe(),
            f'- CUDA {cuda[0]}, cuDNN {cuda[1]}; load {machine.load()[0]:.1f}; ran on '
            f'{self.device} for {self._elapsed():.0f} s',
        ]
        for name, findings in self.found.items():
            rows = [
                (f.what, f.found, f.wanted, {True: 'yes', False: '**no**', None: ''}[f.passed])
                for f in findings
            ]
            lines += ['', f'## {name}', '', table(('what', 'found', 'wanted', 'passed'), rows)]
        (self.out / 'gpu_check.md').write_text('\n'.join(lines) + '\n', encoding='utf-8')
        report = {
            'machine': dataclasses.asdict(about),
            'device': str(self.device),
            'cuda': cuda[0],
            'cudnn': cuda[1],
            'passed': self.passed,
            'seconds': self._elapsed(),
            'findings': {
                name: [dataclasses.asdict(finding) for finding in findings]
                for name, findings in self.found.items()
            },
            'figures': self.figures,
        }
        text = json.dumps(report, indent=1, default=float)
        (self.out / 'gpu_check.json').write_text(text, encoding='utf-8')


def check_correctness(check: Check) -> Iterator[Finding]:
    """Compare with the CPU, and try everything that can go wrong."""
    extent = check.extent
    network, info = check.models[COMPACT]
    yield from gpu_correctness.check_all(
        Subject(network, info, check.device, extent.precisions, extent.sizes, extent.repeats)
    )


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
    wanted = Wanted(info.threshold, tint=gpu_correctness.TINT)
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
    for _ in range(gpu_correctness.UNTIL_REPLAY):
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
    images = torch.zeros((1, 3, *size), dtype=dtype, device=device)
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
    """With every stage compiled by torch.compile."""

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
            yield Finding(f'{FULL}, {name}', f'not here: {type(error).__name__}: {error}')
            continue
        sampler = {name: mask_sampler(segmenter)}
        taken = interleave(sampler, [image], check.extent.repeats)[name][MASK]
        segmenter.close()
        check.figures[f'option: {name}'] = {'median_ms': taken.median, 'ready_s': ready_s}
        yield Finding(f'{FULL}, {name}', f'{_ms(taken)}; ready after {ready_s:.2f} s')


def check_training(check: Check) -> Iterator[Finding]:
    """See whether the GPU waits for the data, and how long the original recipe would take."""
    try:
        from training import config, throughput
        from training.provenance import Files
    except ImportError as error:
        yield Finding('training', f'left out: {error}')
        return
    with tempfile.TemporaryDirectory() as folder:
        data = check.data or write_scenes(Path(folder) / 'data', check.extent)
        for recipe in ('seed', 'kitti', 'compact'):
            overrides = ('backbone=random', 'synthetic=0', *check.extent.overrides)
            settings = config.read(CONFIGS / f'{recipe}.yaml', overrides)
            rates = throughput.measure(settings, Files(data, Path(folder)), check.extent.batches)
            check.figures[f'training: {recipe}'] = rates
            yield Finding(
                f'recipe {recipe}',
                f'{rates["utilisation"]:.0%} of {rates["steps"]:.0f} images/s without data; data '
                f'alone {rates["data"]:.0f}',
                f'{LEAST_UTILISATION:.0%} at least',
                check.judge(rates['utilisation'] >= LEAST_UTILISATION),
            )
        yield from _time_seed_recipe(check, data, Path(folder))


def _time_seed_recipe(check: Check, data: Path, folder: Path) -> Iterator[Finding]:
    from training import config, train

    recipe = CONFIGS / 'seed.yaml'

    def seconds(epochs: int, checkpoint_every: int) -> float:
        began = time.perf_counter()
        with open(check.out / 'training.log', 'a', encoding='utf-8') as log, quiet(log):
            status = train.main(
                [
                    *('--config', str(recipe), '--data', str(data)),
                    *('--out', str(folder / f'run{epochs}_{checkpoint_every}'), 'backbone=random'),
                    *(f'epochs={epochs}', f'checkpoint_every={checkpoint_every}'),
                    *check.extent.overrides,
                ]
            )
        if status:
            raise RuntimeError(f'training ended with status {status}; see training.log')
        return time.perf_counter() - began

    few, more = 1, 4
    first_s, more_s = seconds(few, few), seconds(more, more)  # each with one checkpoint
    epoch_s = (more_s - first_s) / (more - few)
    checkpoint_s = max(0.0, seconds(more, 1) - more_s) / (more - 1)
    checkpoints = SEED_EPOCHS // config.read(recipe).checkpoint_every
    whole_s = first_s + (SEED_EPOCHS - few) * epoch_s + (checkpoints - 1) * checkpoint_s
    check.figures['seed recipe'] = {
        'epoch_s': epoch_s,
        'first_epoch_s': first_s,
        'checkpoint_s': checkpoint_s,
    }
    yield Finding(
        f'original recipe, {SEED_EPOCHS} epochs, from {more} of them',
        f'{whole_s:.0f} s ({epoch_s:.2f} s an epoch, {first_s:.1f} s with the first, '
        f'{checkpoint_s:.1f} s for each of {checkpoints} checkpoints)',
        f'{MOST_SEED_S} s at most',
        check.judge(whole_s <= MOST_SEED_S),
    )


@contextlib.contextmanager
def quiet(log: TextIO) -> Iterator[None]:
    """Let what is printed and logged, progress bars too, go to a file meanwhile."""
    handlers = logging.root.handlers[:]
    try:
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            yield
    finally:
        logging.root.handlers[:] = handlers  # none that writes to the file


def write_scenes(folder: Path, extent: Extent) -> Path:
    """Write labelled synthetic scenes in KITTI Road's layout and number; return the folder."""
    images, labels = folder / 'training/image_2', folder / 'training/gt_image_2'
    images.mkdir(parents=True)
    labels.mkdir()
    scenes = [synthetic.render(seed, *extent.sizes[0]) for seed in range(min(16, extent.images))]
    for index in range(extent.images):
        scene = scenes[index % len(scenes)]
        label = np.zeros((*scene.road.shape, 3), np.uint8)
        label[..., 2] = 255  # red: scored
        label[..., 0] = scene.road  # blue: road
        cv2.imwrite(str(images / f'um_{index:06d}.png'), scene.image)
        cv2.imwrite(str(labels / f'um_road_{index:06d}.png'), label)
    return folder


PARTS = {
    'Correctness': check_correctness,
    'Speed': check_speed,
    'Growth': check_growth,
    'Start-up and memory': check_startup,
    'Training': check_training,
    'Options': check_options,
}


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, check and report. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, required=True, help='folder for the report')
    parser.add_argument('--model', default='', help='model file; the one that ships by default')
    parser.add_argument('--data', type=Path, help="KITTI Road's folder; synthetic by default")
    parser.add_argument('--device', default='cuda', choices=('cuda', 'cpu'))
    args = parser.parse_args(arguments)
    if args.device == 'cuda' and not torch.cuda.is_available():
        print(
            f'error: PyTorch {torch.__version__} finds no CUDA GPU here; run this where there is '
            'one, or check the script itself with --device cpu',
            file=sys.stderr,
        )
        return 2
    try:
        on_gpu = args.device == 'cuda'
        extent = ON_GPU if on_gpu else ON_CPU
        torch.manual_seed(0)
        full = FCN8(extent.width, 'fc1024').eval(), ModelInfo({}, extent.input)
        models = {FULL: full}
        models[COMPACT] = checkpoint.load(args.model) if on_gpu or args.model else full
        args.out.mkdir(parents=True, exist_ok=True)
    except (CheckpointError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    if not on_gpu:
        torch.set_num_threads(1)  # what is small is quicker so
    device = torch.device('cuda', 0) if on_gpu else torch.device('cpu')
    check = Check(device, extent, models, args.data, args.out)
    check.run(PARTS)
    print(
        f'wrote {args.out / "gpu_check.md"}; {"all passed" if check.passed else "NOT all passed"}'
    )
    return 0 if check.passed else 1


def _ms(durations: Durations) -> str:
    return f'median {durations.median:.3f} ms, p95 {durations.p95:.3f}, p99 {durations.p99:.3f}'


if __name__ == '__main__':
    sys.exit(main())
