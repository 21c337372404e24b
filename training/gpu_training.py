"""How fast training is on a GPU, and whether that waits for the data."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import numpy as np
import torch

from road_seg_ros import synthetic
from road_seg_ros.image_files import write_image
from road_seg_ros.kitti import write_label
from road_seg_ros.metrics import NOT_ROAD, ROAD
from training.gpu_report import Check, Extent, Finding, guarded

CONFIGS = Path(__file__).parent / 'configs'
SEED_EPOCHS = 50  # of the original recipe

# Targets for a GPU such as an H200.
LEAST_UTILISATION = 0.8
MOST_SEED_S = 40


def check_training(check: Check) -> Iterator[Finding]:
    """See whether the GPU waits for the data, and how long the original recipe would take."""
    try:
        import training.train  # noqa: F401
    except ImportError as error:
        yield Finding('training', f'left out: {error}')
        return
    precision = torch.get_float32_matmul_precision()
    try:
        with tempfile.TemporaryDirectory() as folder:
            data = check.data or write_scenes(Path(folder) / 'data', check.extent)
            for recipe in ('seed', 'kitti', 'compact'):
                yield from guarded(
                    f'recipe {recipe}', lambda r=recipe: _utilisation(check, r, data, Path(folder))
                )
            yield from _time_seed_recipe(check, data, Path(folder))
    finally:
        torch.set_float32_matmul_precision(precision)  # which training changes


def _utilisation(check: Check, recipe: str, data: Path, folder: Path) -> Iterator[Finding]:
    from training import config, throughput
    from training.provenance import Files

    overrides = ('backbone=random', 'synthetic=0', *check.extent.overrides)
    settings = config.read(CONFIGS / f'{recipe}.yaml', overrides)
    rates = throughput.measure(settings, Files(data, folder), check.extent.batches)
    check.figures[f'training: {recipe}'] = rates
    yield Finding(
        f'recipe {recipe}',
        f'{rates["utilisation"]:.0%} of {rates["steps"]:.0f} images/s without data; data alone '
        f'{rates["data"]:.0f}',
        f'{LEAST_UTILISATION:.0%} at least',
        check.judge(rates['utilisation'] >= LEAST_UTILISATION),
    )


def _time_seed_recipe(check: Check, data: Path, folder: Path) -> Iterator[Finding]:
    from training import config, summary

    recipe = CONFIGS / 'seed.yaml'
    epochs = check.extent.epochs
    one, all_of_them = folder / 'one_checkpoint', folder / 'every_checkpoint'
    seconds = _run_seconds(check, recipe, data, one, epochs, epochs)
    more_s = _run_seconds(check, recipe, data, all_of_them, epochs, 1) - seconds
    # The first epoch waits for the workers to start, and for cuDNN to be loaded.
    epoch_s = np.median([epoch['epoch_s'] for epoch in summary.read_epochs(one).values()][1:])
    checkpoint_s = max(0.0, more_s) / (epochs - 1)
    checkpoints = SEED_EPOCHS // config.read(recipe).checkpoint_every
    whole_s = seconds + (SEED_EPOCHS - epochs) * epoch_s + (checkpoints - 1) * checkpoint_s
    check.figures['seed recipe'] = {
        'epoch_s': epoch_s,
        'run_s': seconds,
        'checkpoint_s': checkpoint_s,
    }
    yield Finding(
        f'original recipe, {SEED_EPOCHS} epochs, from {epochs} of them',
        f'{whole_s:.0f} s ({epoch_s:.2f} s an epoch, {seconds:.1f} s for {epochs} with start and '
        f'end, {checkpoint_s:.1f} s for each of {checkpoints} checkpoints)',
        f'{MOST_SEED_S} s at most',
        check.judge(whole_s <= MOST_SEED_S),
    )


def _run_seconds(
    check: Check, recipe: Path, data: Path, out: Path, epochs: int, checkpoint_every: int
) -> float:
    """Train for some epochs and return how long that took."""
    from training import train

    arguments = ['--config', str(recipe), '--data', str(data), '--out', str(out)]
    arguments += ['backbone=random', f'epochs={epochs}', f'checkpoint_every={checkpoint_every}']
    began = time.perf_counter()
    with open(check.out / 'training.log', 'a', encoding='utf-8') as log, quiet(log):
        status = train.main([*arguments, *check.extent.overrides])
    if status:
        raise RuntimeError(f'training ended with status {status}; see training.log')
    return time.perf_counter() - began


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
        write_image(images / f'um_{index:06d}.png', scene.image)
        label = np.where(scene.road, ROAD, NOT_ROAD)
        write_label(labels / f'um_road_{index:06d}.png', label)
    return folder
