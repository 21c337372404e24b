"""
What a run did, in a table and in curves.

    python -m training.summary runs/seed --published    # beside the original project's losses
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from road_seg_ros import markdown
from training import command

# The original project's loss by epoch, read as the sum over the epoch's 20 batches.
PUBLISHED = {1: 22.35, 10: 2.85, 20: 1.72, 30: 1.39, 40: 1.18, 50: 0.97}
PUBLISHED_BATCHES = 20
COLUMNS = ('loss_epoch', 'max_f', 'iou', 'ece', 'threshold', 'temperature', 'epoch_s')


def read_epochs(out: Path) -> dict[int, dict[str, float]]:
    """
    Return by epoch, counted from 1, what the run in that folder logged.

    A resumed run has several logs; the later one holds where they overlap. ValueError names the
    log that holds something else.
    """
    epochs: dict[int, dict[str, float]] = defaultdict(dict)
    for log in _logs(out):
        try:
            with open(log, newline='', encoding='utf-8') as file:
                for row in csv.DictReader(file):
                    values = {name: float(row[name]) for name in COLUMNS if row.get(name)}
                    if values:
                        epochs[int(row['epoch']) + 1].update(values)
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise ValueError(f'{log} is no log of a run: {error!r}') from error
    return dict(sorted(epochs.items()))


def _logs(out: Path) -> list[Path]:
    by_version = {
        int(version): log
        for log in out.glob('csv/version_*/metrics.csv')
        if (version := log.parent.name.removeprefix('version_')).isdecimal()
    }
    return [by_version[version] for version in sorted(by_version)]


def table(epochs: dict[int, dict[str, float]], rows: int = 12) -> str:
    """Return a Markdown table of about `rows` epochs, the last one always among them."""
    numbers = list(epochs)
    if any('max_f' in values for values in epochs.values()):
        numbers = [number for number in numbers if 'max_f' in epochs[number]]
    every = max(1, -(-len(numbers) // rows))
    return markdown.table(
        ('epoch', *COLUMNS),
        [
            (str(number), *(f'{epochs[number].get(name, np.nan):.4g}' for name in COLUMNS))
            for number in numbers[::-1][::every][::-1]
        ],
    )


def plot(epochs: dict[int, dict[str, float]], path: Path, published: bool = False) -> None:
    """
    Draw loss and MaxF by epoch as a PNG.

    published: the loss times 20, beside the published losses, which are sums over 20 batches.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout='constrained')
    axes = figure.add_subplot(xlabel='epoch', yscale='log')
    loss = {n: v['loss_epoch'] for n, v in epochs.items() if 'loss_epoch' in v}
    factor, label = 1, 'loss, mean of the batches'
    if published:
        factor, label = PUBLISHED_BATCHES, f'loss, mean of the batches x {PUBLISHED_BATCHES}'
        axes.plot(*zip(*PUBLISHED.items(), strict=True), 'o--', color='gray', label='published')
    axes.plot(list(loss), [factor * value for value in loss.values()], label=label)
    axes.set_ylabel('training loss')
    lines = list(axes.lines)
    max_f = {n: v['max_f'] for n, v in epochs.items() if 'max_f' in v}
    if max_f:
        right = axes.twinx()
        style = {'color': 'tab:green', 'label': 'MaxF'}
        lines += right.plot(list(max_f), list(max_f.values()), '.-', **style)
        right.set_ylabel('validation MaxF, %')
    axes.legend(handles=lines, loc='center right')  # losses end low, MaxF high
    figure.savefig(path, dpi=100)


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, print the table and write OUT/curves.png. Returns the status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('out', type=Path, help='the folder of a run')
    parser.add_argument('--published', action='store_true', help='compare with the original')
    args = parser.parse_args(arguments)
    try:
        epochs = read_epochs(args.out)
        if not epochs:
            folds = [str(fold) for fold in sorted(args.out.glob('fold*')) if _logs(fold)]
            raise ValueError(
                f'{args.out} holds no csv/version_N/metrics.csv of a run'
                + (f'; there are {", ".join(folds)}' if folds else '')
            )
        print(table(epochs))
        plot(epochs, args.out / 'curves.png', args.published)
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    command.run(main)
