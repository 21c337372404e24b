"""From the counts of single images to the scores of a model, as a dictionary and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from road_seg_ros import markdown
from road_seg_ros.image_files import SourceError
from road_seg_ros.metrics import RoadCounts
from training.bootstrap import confidence_intervals
from training.kitti_road import URBAN

VIEWS = {'perspective': 'Perspective view', 'bev': "Bird's-eye view"}
COLUMNS = (
    'max_f',
    'avg_precision',
    'precision',
    'recall',
    'fpr',
    'fnr',
    'threshold',
    'iou',
    'ece',
)
INTERVALS = ('max_f', 'iou')


@dataclass(frozen=True)
class ImageResult:
    """What one image adds to the scores; `bev` is None without a calibration."""

    category: str
    perspective: RoadCounts
    bev: RoadCounts | None = None


def counts_of_view(
    results: Sequence[ImageResult], view: str
) -> dict[str, list[RoadCounts]] | None:
    """Return the counts of each image by category; None if the view (see VIEWS) lacks an image."""
    by_category: dict[str, list[RoadCounts]] = {}
    for result in sorted(results, key=lambda result: result.category):
        counts = getattr(result, view)
        if counts is None:
            return None
        by_category.setdefault(result.category, []).append(counts)
    return by_category


def totals(by_category: Mapping[str, Sequence[RoadCounts]]) -> dict[str, RoadCounts]:
    """Return the summed counts of URBAN, which is everything, and of each category with road."""
    sums = {category: sum(counts, RoadCounts()) for category, counts in by_category.items()}
    with_road = {category: counts for category, counts in sums.items() if counts.road.any()}
    return {URBAN: sum(sums.values(), RoadCounts()), **with_road}


def build(results: Sequence[ImageResult], threshold: float) -> dict[str, Any]:
    """
    Return scores and confidence intervals of each view, of URBAN and of each category.

    threshold: the one that the model ships with, 0..1. See `RoadCounts.scores` and
    `confidence_intervals` for the numbers. A view that lacks an image is None. A category without
    road has no scores of its own and counts in URBAN alone; without any road, SourceError.
    """
    report: dict[str, Any] = dict.fromkeys(VIEWS)
    report['confidence_interval'] = dict.fromkeys(VIEWS)
    for view in VIEWS:
        by_category = counts_of_view(results, view)
        if by_category is None:
            continue
        report[view] = {
            category: _scores(counts, threshold, f'{category}, {VIEWS[view].lower()}')
            for category, counts in totals(by_category).items()
        }
        intervals = confidence_intervals(by_category, threshold)
        report['confidence_interval'][view] = {name: intervals[name] for name in report[view]}
    return {**report, 'images': len(results)}


def as_markdown(report: Mapping[str, Any]) -> str:
    """Return a report as Markdown: a table of each view that was scored, and how to read it."""
    parts = []
    for view, title in VIEWS.items():
        if report[view] is not None:
            intervals = report['confidence_interval'][view]
            parts += [f'{title}:', '', table(report[view], intervals), '']
    parts.append(
        f'Images: {report["images"]}. Percentages, but for the threshold. precision, recall, fpr '
        'and fnr are at `threshold`, the one with the best F1; iou is at the threshold of the '
        f'model, {report["model_threshold"]:.3f}. ece: expected calibration error, 15 bins. '
        '95 %: bootstrap over images, too narrow because neighbours look alike. Run by '
        f'{report["engine"]} {report["precision"]} on {report["device"]}.'
    )
    return '\n'.join(parts)


def table(
    scores: Mapping[str, Mapping[str, float]], intervals: Mapping[str, Mapping[str, list[float]]]
) -> str:
    """Return scores and confidence intervals of one view as a Markdown table."""
    heads = ['category', *COLUMNS, *(f'{name} 95 %' for name in INTERVALS)]
    rows = []
    for category, values in scores.items():
        cells = [category]
        cells += [f'{values[name]:.{3 if name == "threshold" else 2}f}' for name in COLUMNS]
        cells += ['{:.1f} to {:.1f}'.format(*intervals[category][name]) for name in INTERVALS]
        rows.append(cells)
    return markdown.table(heads, rows)


def _scores(counts: RoadCounts, threshold: float, what: str) -> dict[str, float]:
    try:
        return counts.scores(threshold)
    except ValueError as error:
        raise SourceError(f'{what}: {error}') from error
