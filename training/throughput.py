"""
How fast a configuration trains here, and whether the data or the network is the bottleneck.

    python -m training.throughput --config training/configs/kitti.yaml --data KITTI_DIR

Prints images per second of preparing the data alone, of the steps alone (forward, backward and
optimiser on one batch over and over), and of both together. Averaging, logs and checkpoints are
left out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from road_seg_ros.arguments import new_file, whole_number
from road_seg_ros.engines.torch_errors import is_out_of_memory
from training import command, config
from training.config import TrainingConfig
from training.dataset import render_synthetic, training_loader
from training.kitti_road import find_pairs, read_all
from training.process import Process
from training.provenance import Files
from training.road_training import Batch
from training.run import new_module
from training.train import USER_ERRORS, what_to_lower

WARM_UP = 3  # batches
ROUNDS = 10  # batches of each worker that are timed at least: they arrive in bursts
DTYPES = {'bf16-mixed': torch.bfloat16, '16-mixed': torch.float16}


def measure(settings: TrainingConfig, files: Files, batches: int) -> dict[str, float]:
    """
    Return images per second of `data`, `steps` and `both`, and `utilisation`: both / steps.

    batches: how many are timed at least, after a few to warm up.
    """
    samples = read_all(find_pairs(files.data)) + render_synthetic(settings.synthetic)
    loader = training_loader(samples, settings, Process())
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    step = _training_step(settings, files, device)

    data = _loader_rate(loader, lambda _: None, batches)
    same = next(iter(loader))
    steps = _rate(itertools.repeat(same), step, batches)
    both = _loader_rate(loader, step, batches)
    return {'data': data, 'steps': steps, 'both': both, 'utilisation': both / steps}


def _training_step(
    settings: TrainingConfig, files: Files, device: torch.device
) -> Callable[[Batch], None]:
    torch.set_float32_matmul_precision('high')
    module = new_module(settings, files).to(device).train()
    module.on_fit_start()
    optimizer, _ = module.optimizer_and_schedule(steps=1)  # which the schedule is not part of
    dtype = DTYPES.get(settings.precision)

    def step(batch: Batch) -> None:
        images, labels = (part.to(device, non_blocking=True) for part in batch)
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            loss = module.loss(module(images), images, labels.long()).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _loader_rate(loader: DataLoader, step: Callable[[Batch], None], count: int) -> float:
    """Return images per second, epoch after epoch, once nothing is left that was ready before."""

    def forever() -> Iterator[Batch]:
        for epoch in itertools.count():
            loader.batch_sampler.set_epoch(epoch)
            yield from loader

    ready = loader.num_workers * (loader.prefetch_factor or 0)
    return _rate(forever(), step, max(count, ROUNDS * loader.num_workers), WARM_UP + ready)


def _rate(
    batches: Iterable[Batch],
    step: Callable[[Batch], None],
    count: int,
    warm_up: int = WARM_UP,
) -> float:
    batches = iter(batches)
    for batch in itertools.islice(batches, warm_up):
        step(batch)
    _wait_for_device()
    images, start = 0, time.perf_counter()  # before the first that counts is asked for
    for batch in itertools.islice(batches, count):
        step(batch)
        images += len(batch[0])
    _wait_for_device()
    return images / (time.perf_counter() - start)


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, measure and report. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--config', type=Path, required=True, help='a file of training/configs')
    parser.add_argument('--data', type=Path, required=True, help="KITTI Road's folder")
    parser.add_argument('--backbone', type=Path, help='VGG-16 weights as .safetensors')
    parser.add_argument('--teacher', help='model file to imitate')
    parser.add_argument(
        '--batches', type=whole_number(1), default=30, help='batches timed at least, default 30'
    )
    parser.add_argument('--json', type=new_file, help='write the figures to this file')
    parser.add_argument('settings', nargs='*', metavar='key=value', help='override a setting')
    args = parser.parse_intermixed_args(arguments)
    try:
        settings = config.read(args.config, args.settings)
        files = Files(args.data, Path(), args.backbone, teacher=args.teacher)
        figures = measure(settings, files, args.batches)
    except (*USER_ERRORS, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        print(f'error: {what_to_lower(settings, error)}', file=sys.stderr)
        return 1
    for name in ('data', 'steps', 'both'):
        print(f'{name}: {figures[name]:.1f} images/s')
    print(f'utilisation: {100 * figures["utilisation"]:.0f} %')
    if args.json:
        args.json.write_text(json.dumps(figures), encoding='utf-8')
    return 0


if __name__ == '__main__':
    command.run(main)
