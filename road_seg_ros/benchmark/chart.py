"""The figures as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from road_seg_ros.benchmark.growth import SIZES, Growth
from road_seg_ros.benchmark.latency import Latency
from road_seg_ros.benchmark.ros_graph import NodeResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's colours, which most colour-blind readers tell apart.
COLORS = ('#0072B2', '#E69F00', '#009E73', '#D55E00', '#CC79A7', '#56B4E9', '#F0E442', '#000000')
NETWORK_COLOR = '#BBBBBB'


class ChartError(RuntimeError):
    """A picture that cannot be drawn; says what to do."""


def draw_latencies(latencies: Mapping[str, Latency], path: Path) -> None:
    """Write the stages of each engine as a stacked bar, PNG."""
    figure, axes = _new(1 + 0.5 * len(latencies))
    stages = list(dict.fromkeys(stage for found in latencies.values() for stage in found.stages))
    others = iter(COLORS)
    colors = {s: NETWORK_COLOR if s == 'network' else next(others) for s in stages}
    names = list(latencies)
    left = dict.fromkeys(names, 0.0)
    for stage in stages:
        widths = {
            name: latencies[name].stages[stage].median if stage in latencies[name].stages else 0.0
            for name in names
        }
        axes.barh(
            names,
            list(widths.values()),
            left=list(left.values()),
            color=colors[stage],
            label=stage.replace('_', ' '),
        )
        left = {name: left[name] + widths[name] for name in names}
    for name in names:
        axes.annotate(f' {left[name]:.1f}', (left[name], name), va='center')
    axes.invert_yaxis()
    axes.margins(x=0.1)
    _finish(figure, axes, 'from message to message, ms (medians of the stages)', '', path)


def draw_growth(growths: Mapping[str, Growth], path: Path) -> None:
    """Write medians over megapixels, with the line through them, PNG."""
    figure, axes = _new(4.5)
    megapixels = [width * height / 1e6 for width, height in SIZES]
    for (name, growth), color in zip(growths.items(), COLORS * len(growths), strict=False):
        line = growth.line
        medians = [durations.median for durations in growth.durations.values()]
        axes.plot(megapixels, medians, 'o', color=color, label=name)
        fitted = [line.base_ms + line.ms_per_megapixel * mp for mp in megapixels]
        axes.plot(megapixels, fitted, color=color, linewidth=1)
    axes.set_ylim(bottom=0)
    _finish(figure, axes, 'size of the image, megapixels', 'image to mask, median, ms', path)


def draw_nodes(results: Sequence[NodeResult], path: Path) -> None:
    """Write the node's latency by rate, median to 99th percentile, PNG."""
    figure, axes = _new(4.5)
    for result, color in zip(results, COLORS * len(results), strict=False):
        runs = [run for run in result.runs if run.latency is not None]
        rates = [run.rate_hz for run in runs]
        medians = [run.latency.median for run in runs]
        tails = [run.latency.p99 - run.latency.median for run in runs]
        axes.errorbar(
            rates,
            medians,
            yerr=([0.0] * len(runs), tails),
            fmt='o-',
            capsize=4,
            color=color,
            label=f'{result.engine}, {result.transport}',
        )
    axes.set_ylim(bottom=0)
    _finish(figure, axes, 'images a second', 'stamp to mask, median to p99, ms', path)


def check(path: Path) -> None:
    """Raise ChartError if matplotlib is missing or does not write such a file."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ChartError(
            f'--chart needs matplotlib ({error}): pip install matplotlib, or leave --chart out'
        ) from error
    from matplotlib.figure import Figure

    if path.suffix.lower().removeprefix('.') not in Figure().canvas.get_supported_filetypes():
        raise ChartError(f'--chart must name a picture, like chart.png, got {path}')


def _new(height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, height), layout='constrained')
    return figure, figure.subplots()


def _finish(figure: Figure, axes: Axes, xlabel: str, ylabel: str, path: Path) -> None:
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(color='0.9', linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(loc='upper left', bbox_to_anchor=(1, 1), frameon=False)
    figure.savefig(path, dpi=120)
