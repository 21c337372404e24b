"""
Average the weights of models of which one was trained from the other.

    python -m training.average BEFORE.safetensors AFTER.safetensors --out FILE
    python -m training.average ONE.safetensors --scores REPORT.json --out FILE   # the same weights

Training that goes on with other images (`training.train --start`) gains on these and loses a
little on the ones before; the average keeps most of both (Wortsman et al., "Robust fine-tuning of
zero-shot models", CVPR 2022). Models that did not grow from one another average to noise.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from road_seg_ros import checkpoint
from road_seg_ros.arguments import new_file
from road_seg_ros.checkpoint import ModelInfo
from road_seg_ros.fcn8 import FCN8
from training import command, licenses
from training.kitti_road import URBAN
from training.provenance import data_names, fold_of, seen_together


class AverageError(ValueError):
    """Models that cannot be averaged; says why."""


def average(paths: Sequence[str]) -> tuple[FCN8, ModelInfo]:
    """
    Return the network with the mean of the models' weights, and the info of the last one.

    paths: each as for `checkpoint.find`. The info keeps threshold and temperature, loses the
    scores, which are not those of the average, and has the licences of all, and what any of them
    has seen. It loses its fold if another one learned from other folds of the same data. One alone
    stays what it is.
    AverageError if the networks or their normalisations differ; CheckpointError if a file cannot
    be read.
    """
    if len(paths) == 1:
        return checkpoint.load(paths[0])
    networks, infos = zip(*(checkpoint.load(path) for path in paths), strict=True)
    last, info = networks[-1], infos[-1]
    for path, other in zip(paths, infos, strict=True):
        for what in ('architecture', 'normalization'):
            if getattr(other, what) != getattr(info, what):
                raise AverageError(
                    f'{path} has the {what} {getattr(other, what)}, {paths[-1]} has '
                    f'{getattr(info, what)}: only weights of the same network have a mean'
                )
    states = [network.state_dict() for network in networks]
    last.load_state_dict(
        {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}
    )
    sources = [
        f'{checkpoint.find(path).name} ({other.data})'
        for path, other in zip(paths, infos, strict=True)
    ]
    training = dict(info.training)
    for other in infos:
        if data_names(other) & data_names(info) and fold_of(other.training) != fold_of(training):
            training.update(folds=0, fold=-1)
    return last, dataclasses.replace(
        info,
        training=training,
        data=f'average of {", ".join(sources)}',
        data_license=licenses.combined(other.data_license for other in infos),
        seen=tuple(sorted(seen_together(infos, fold_of(info.training)))),
        metrics={},
        created='',
    )


def _read_scores(path: Path) -> dict[str, float]:
    try:
        report = json.loads(path.read_text(encoding='utf-8'))
        return {**report['perspective'][URBAN], 'images': report['images']}
    except (KeyError, TypeError, ValueError) as error:
        raise AverageError(f'{path} is no report of training.evaluate --json') from error


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and average. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('models', nargs='+', help='.safetensors files')
    parser.add_argument('--out', type=new_file, required=True, help='file to write')
    parser.add_argument('--threshold', type=float, help='default: that of the last model')
    parser.add_argument('--temperature', type=float, help='likewise')
    parser.add_argument(
        '--scores',
        type=Path,
        help='JSON of training.evaluate to keep in the file: of this average where images were '
        'held out of its training, or of one made in the same way that had them held out',
    )
    args = parser.parse_args(arguments)
    chosen: dict[str, Any] = {
        name: value
        for name, value in (('threshold', args.threshold), ('temperature', args.temperature))
        if value is not None
    }
    try:
        if args.scores:
            chosen['metrics'] = _read_scores(args.scores)
        if len(args.models) < 2 and not chosen:
            raise AverageError(
                'give two models or more, or what one is to have instead: --threshold, '
                '--temperature, --scores'
            )
        network, info = average(args.models)
        checkpoint.save(args.out, network, dataclasses.replace(info, **chosen))
    except (ValueError, OSError) as error:  # AverageError, CheckpointError
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(f'{args.out}: {checkpoint.load_info(args.out).describe()}')
    return 0


if __name__ == '__main__':
    command.run(main)
