"""The figures as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from road_seg_ros import markdown
from road_seg_ros.benchmark.growth import Growth
from road_seg_ros.benchmark.latency import Latency
from road_seg_ros.benchmark.ros_graph import NODE_WINDOW, NodeResult, TransportRun
from road_seg_ros.benchmark.startup import Startup
from road_seg_ros.benchmark.timing import Durations

REFERENCE = 'torch fp32'


def ratios(medians_ms: Mapping[str, float]) -> dict[str, float]:
    """Return how many times as fast as REFERENCE, or else the first, each of them is."""
    reference = medians_ms.get(REFERENCE, next(iter(medians_ms.values())))
    return {name: reference / median for name, median in medians_ms.items()}


def percentiles(durations: Durations | None) -> list[str]:
    """Return the cells for median, p95 and p99."""
    if durations is None:
        return ['-'] * 3
    return [f'{value:.1f}' for value in (durations.median, durations.p95, durations.p99)]


def latency_table(latencies: Mapping[str, Latency], startups: Mapping[str, Startup]) -> str:
    """Return a row for each engine; the last columns are empty where no start was measured."""
    faster = ratios({name: found.whole.median for name, found in latencies.items()})
    reference = REFERENCE if REFERENCE in latencies else next(iter(latencies))
    on_gpu = any(startup.gpu_mb is not None for startup in startups.values())
    heads = ['engine', 'device', *('image to mask: median, ms', 'p95', 'p99'), f'x {reference}']
    heads += ['stream, frames/s', 'start to first mask, s', 'memory, MB']
    rows = []
    for name, found in latencies.items():
        row = [name, found.device, *percentiles(found.whole), f'{faster[name]:.2f}']
        row += [f'{found.frames_per_s:.1f}']
        startup = startups.get(name)
        row += [f'{startup.total_s:.1f}', f'{startup.resident_mb:.0f}'] if startup else ['', '']
        if on_gpu:
            row += [f'{startup.gpu_mb:.0f}' if startup and startup.gpu_mb is not None else '']
        rows.append(row)
    return markdown.table([*heads, *(['GPU memory, MB'] if on_gpu else [])], rows)


def stage_table(latencies: Mapping[str, Latency]) -> str:
    """Return the median ms of each stage, and of all of them but the network."""
    stages = list(dict.fromkeys(stage for found in latencies.values() for stage in found.stages))
    rows = [
        [
            name,
            *(_median(found.stages.get(stage)) for stage in stages),
            f'{found.rest_ms(found.stages):.2f}',
            f'{found.rest_ms(found.overlay_stages):.2f}',
        ]
        for name, found in latencies.items()
    ]
    heads = ['stages, ms', *(stage.replace('_', ' ') for stage in stages)]
    return markdown.table([*heads, 'all but the network', 'the same with an overlay'], rows)


def startup_table(startups: Mapping[str, Startup]) -> str:
    """Return what takes the time of a start."""
    stages = list(next(iter(startups.values())).stages_s)
    rows = [
        [
            name,
            *(f'{startup.stages_s[stage]:.2f}' for stage in stages),
            f'{startup.total_s:.2f}',
            f'{startup.peak_mb:.0f}',
        ]
        for name, startup in startups.items()
    ]
    return markdown.table(['start, s', *stages, 'together', 'peak memory, MB'], rows)


def growth_table(growths: Mapping[str, Growth]) -> str:
    """Return the medians by size of the image, and the line through them."""
    sizes = list(next(iter(growths.values())).durations)
    rows = [
        [
            name,
            *(_median(growth.durations[size]) for size in sizes),
            f'{growth.line.base_ms:.1f} + {growth.line.ms_per_megapixel:.2f} x MP',
            f'{growth.line.r_squared:.3f}',
        ]
        for name, growth in growths.items()
    ]
    return markdown.table(['median, ms', *sizes, 'line', 'R²'], rows)


def node_table(results: Sequence[NodeResult]) -> str:
    """Return a row for each engine, transport and rate."""
    heads = ['engine', 'transport', 'Hz', 'images sent', 'lost on the way', 'masks']
    heads += ['stamp to mask: median, ms', 'p95', 'p99', 'less inference', 'jitter: mean, ms']
    heads += ['p95', "node's cores", 'memory, MB']
    rows = []
    for result in results:
        for run in result.runs:
            rows.append(
                [
                    result.engine,
                    result.transport,
                    f'{run.rate_hz:g}',
                    f'{run.sent} at {run.sent_hz:.1f} Hz',
                    str(run.sent - run.received),
                    str(run.masks),
                    *percentiles(run.latency),
                    # The node's median is of its last images, earlier rates' too.
                    f'{run.rest_ms:.1f}' if run.masks >= NODE_WINDOW else '-',
                    *(
                        (f'{run.jitter.mean:.1f}', f'{run.jitter.p95:.1f}')
                        if run.jitter
                        else ('-', '-')
                    ),
                    f'{run.node_cores:.2f}',
                    f'{run.node_mb:.0f}',
                ]
            )
    return markdown.table(heads, rows)


def transport_table(runs: Sequence[TransportRun]) -> str:
    """Return a row for each pair of transports, and a column for each reliability."""
    cells = {
        (run.publisher, run.subscriber, run.reliability): (
            f'{run.received} of {run.sent}, '
            f'{f"{run.latency.median:.1f}" if run.latency else "-"} ms'
        )
        for run in runs
    }
    pairs = dict.fromkeys((run.publisher, run.subscriber) for run in runs)
    policies = list(dict.fromkeys(run.reliability for run in runs))
    return markdown.table(
        [
            *('publisher', 'subscriber'),
            *(f'{policy.replace("_", " ")}: received, median' for policy in policies),
        ],
        [[*pair, *(cells[(*pair, policy)] for policy in policies)] for pair in pairs],
    )


def _median(durations: Durations | None) -> str:
    return '' if durations is None else f'{durations.median:.2f}'
