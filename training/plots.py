"""Pictures of scores: precision against recall, and road probability against share of road."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from road_seg_ros.metrics import CALIBRATION_BINS, RoadCounts, calibration_error
from training.kitti_road import URBAN

# Okabe & Ito's colours, which most colour-blind readers tell apart.
COLORS = ('#000000', '#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00')


def plot_precision_recall(totals: Mapping[str, RoadCounts], title: str, path: Path) -> None:
    """
    Write precision against recall over the 256 thresholds, one line a category, as PNG.

    totals: counts by category; each has road. A dot marks the best F1. The axes leave out what
    lies far below the lowest of these.
    """
    figure = Figure(figsize=(5.6, 5.6), layout='constrained')
    axes = figure.subplots()
    lowest = 100.0
    for (category, counts), color in zip(totals.items(), _colors(totals), strict=True):
        curves = counts.curves()
        precision, recall = 100 * curves.precision, 100 * curves.recall
        called = recall > 0
        best = curves.f1.argmax()
        axes.plot(
            recall[called],
            precision[called],
            color=color,
            linewidth=2.2 if category == URBAN else 1.3,
            label=f'{_plain(category)}: MaxF {100 * curves.f1[best]:.2f}',
        )
        axes.plot(recall[best], precision[best], 'o', color=color, markersize=5)
        lowest = min(lowest, recall[best], precision[best])
    start = max(0, 10 * np.floor(lowest / 10) - 20)
    axes.set(
        xlim=(start, 100.5),
        ylim=(start, 100.5),
        aspect='equal',
        title=f'{title}: precision and recall',
    )
    axes.set(xlabel='recall (%)', ylabel='precision (%)')
    _finish(axes)
    axes.legend(loc='lower left')
    figure.savefig(path, dpi=150)


def plot_reliability(totals: Mapping[str, RoadCounts], title: str, path: Path) -> None:
    """
    Write the share of road against the mean road probability in 15 bins, as PNG.

    totals: counts by category. On the dashed line a probability means what it says; below it the
    model is too sure of road. The bars show where the pixels of `urban` are.
    """
    figure = Figure(figsize=(6, 6.6), layout='constrained')
    axes, bars = figure.subplots(2, sharex=True, height_ratios=(4, 1))
    axes.plot([0, 1], [0, 1], color='grey', linestyle='--', linewidth=1)
    for (category, counts), color in zip(totals.items(), _colors(totals), strict=True):
        bins = counts.reliability()
        axes.plot(
            bins.confidence,
            bins.road,
            'o-',
            color=color,
            markersize=4,
            linewidth=2.2 if category == URBAN else 1.3,
            label=f'{_plain(category)}: ECE {calibration_error(bins):.2f} %',
        )
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel='share of road')
    axes.set_title(f'{title}: reliability')
    _finish(axes)
    axes.legend(loc='upper left')
    pixels = totals[URBAN].reliability().pixels
    edges = np.arange(CALIBRATION_BINS) / CALIBRATION_BINS
    bars.bar(edges, 100 * pixels / pixels.sum(), 1 / CALIBRATION_BINS, align='edge', color='grey')
    bars.set(yscale='log', xlabel='road probability', ylabel='pixels (%)')
    _finish(bars)
    figure.savefig(path, dpi=150)


def _plain(category: str) -> str:
    """Return a name for a legend, which leaves out a leading _ and reads $ as mathematics."""
    text = category.encode('utf-8', 'replace').decode().replace('$', r'\$')
    return f' {text}' if text.startswith('_') else text


def _colors(totals: Mapping[str, RoadCounts]) -> list[str]:
    return [COLORS[index % len(COLORS)] for index in range(len(totals))]


def _finish(axes: Axes) -> None:
    axes.grid(color='0.9', linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
