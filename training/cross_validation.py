"""Put the folds of a cross-validation together."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from road_seg_ros import markdown
from road_seg_ros.segmenter import RoadSegmenter
from training import report
from training.evaluate import score_images
from training.kitti_road import URBAN, Pair, split_fold
from training.out_folder import model_file

SCORES = ('max_f', 'avg_precision', 'iou', 'ece')

log = logging.getLogger('training')


def folder_of_fold(out: Path, fold: int) -> Path:
    """Return where a fold's run writes to."""
    return out / f'fold{fold}'


def summarise(out: Path, pairs: Sequence[Pair], folds: int) -> dict[str, Any]:
    """
    Score every fold's model on the images that it has not seen, as the node runs it.

    Returns and writes to OUT/cross_validation.json, beside a Markdown table: `folds`, the report
    of each fold (see `report.build`); `mean` and `standard_deviation` (n - 1; None for a category
    that is in one fold alone) of these; `pooled`, the report of all images together. All of them
    at `threshold`, the best one of the pooled images. `temperature` is the geometric mean of the
    folds'. Both belong into the configuration of a training on all images.
    """
    results, temperatures = [], []
    for fold in range(folds):
        segmenter = RoadSegmenter.from_checkpoint(model_file(folder_of_fold(out, fold)))
        temperatures.append(segmenter.info.temperature)
        results.append(score_images(segmenter, split_fold(pairs, folds, fold)[1]))
        segmenter.close()
    everything = sum(results, [])
    counts = report.totals(report.counts_of_view(everything, 'perspective'))[URBAN]
    threshold = counts.scores()['threshold']
    of_folds = [report.build(of_fold, threshold) for of_fold in results]
    summary = {
        'threshold': threshold,
        'temperature': float(np.exp(np.mean(np.log(temperatures)))),
        'mean': _over_folds(of_folds, lambda values: float(np.mean(values))),
        'standard_deviation': _over_folds(of_folds, _deviation),
        'pooled': report.build(everything, threshold),
        'folds': of_folds,
    }
    text = as_markdown(summary)
    (out / 'cross_validation.json').write_text(json.dumps(summary, indent=2), encoding='utf-8')
    (out / 'cross_validation.md').write_text(f'{text}\n', encoding='utf-8')
    log.info('%s', text)
    return summary


def as_markdown(summary: Mapping[str, Any]) -> str:
    """Return mean and standard deviation over the folds as Markdown."""
    parts = []
    for view, title in report.VIEWS.items():
        mean, spread = summary['mean'][view], summary['standard_deviation'][view]
        if mean is None:
            continue
        pooled = summary['pooled']['confidence_interval'][view]
        heads = ['category', *SCORES, 'max_f of all images, 95 %']
        rows = []
        for category in mean:
            cells = [_with_spread(mean[category][s], spread[category][s]) for s in SCORES]
            interval = '{:.1f} to {:.1f}'.format(*pooled[category]['max_f'])
            rows.append((category, *cells, interval))
        parts += [f'{title}:', '', markdown.table(heads, rows), '']
    parts.append(
        f'Mean ± standard deviation over {len(summary["folds"])} folds, percentages; iou at '
        f'threshold {summary["threshold"]:.3f}. Temperature {summary["temperature"]:.3f}.'
    )
    return '\n'.join(parts)


def _deviation(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _with_spread(mean: float, spread: float | None) -> str:
    return f'{mean:.2f}' if spread is None else f'{mean:.2f} ± {spread:.2f}'


def _over_folds(
    reports: Sequence[Mapping[str, Any]], statistic: Callable[[Sequence[float]], Any]
) -> dict[str, Any]:
    summary: dict[str, Any] = dict.fromkeys(report.VIEWS)
    for view in report.VIEWS:
        if any(one[view] is None for one in reports):
            continue
        categories = dict.fromkeys(category for one in reports for category in one[view])
        summary[view] = {
            category: {
                score: statistic(
                    [one[view][category][score] for one in reports if category in one[view]]
                )
                for score in SCORES
            }
            for category in categories
        }
    return summary
