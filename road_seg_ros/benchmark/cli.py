"""
Measure how fast this machine turns images into road masks.

    road_seg_benchmark                     every engine and precision that this machine has
    road_seg_benchmark --growth            latency against the size of the image; memory over time
    road_seg_benchmark --ros               the whole node over DDS: loss, latency, jitter
    road_seg_benchmark --transport         images over DDS without the node: which transport loses

Engines are measured in turns, so that whatever else the machine does hits all of them alike.
Prints Markdown.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from road_seg_ros import openmp
from road_seg_ros.arguments import height_by_width, new_file, positive, whole_number
from road_seg_ros.benchmark import (
    chart,
    growth,
    latency,
    machine,
    ros_graph,
    samples,
    startup,
    tables,
)
from road_seg_ros.benchmark.chart import ChartError
from road_seg_ros.benchmark.machine import Machine
from road_seg_ros.benchmark.ros_graph import GraphError
from road_seg_ros.benchmark.samples import Choice, Images, Model
from road_seg_ros.benchmark.startup import StartupError
from road_seg_ros.engines import ENGINES, PRECISIONS
from road_seg_ros.stop import interrupt_on_sigterm

REPEATS, REPEATS_OF_A_SIZE = 200, 30
AUTO = [Choice('auto', 'auto')]
EVERYTHING = [
    Choice(engine, precision)
    for engine, precision in itertools.product(ENGINES, PRECISIONS)
    if 'auto' not in (engine, precision)
]
MEMORY_ROUNDS = 20
TRANSPORT_IMAGES, TRANSPORT_HZ = 60, 10.0


@dataclass(frozen=True)
class Report:
    """What a measurement found: Markdown to print, the same as data, and what draws it."""

    text: str
    data: dict[str, Any]
    draw: Callable[[Path], None] | None = None


class UsageError(ValueError):
    """Arguments that do not go together; says which."""


def measure_engines(args: argparse.Namespace) -> Report:
    """Compare engines from image to mask."""
    images, model = samples.load_images(args.frames), _model(args)
    segmenters, missing = samples.open_segmenters(model, args.choices or EVERYTHING)
    info = next(iter(segmenters.values())).info
    found = latency.measure(segmenters, images.images, args.repeats or REPEATS)
    opened = {name: Choice(*name.split()) for name in segmenters}
    for segmenter in segmenters.values():
        segmenter.close()  # a start should not share the machine's memory with them
    startups = {}
    if args.startups:
        startups = {n: startup.measure(model, c, args.startups) for n, c in opened.items()}
    parts = [
        _describe_model(info.describe(), images, args.size),
        tables.latency_table(found, startups),
        tables.stage_table(found),
        *([tables.startup_table(startups)] if startups else []),
        *([_list_missing(missing)] if missing else []),
    ]
    ratios = tables.ratios({name: result.whole.median for name, result in found.items()})
    data = {
        'model': info.describe(),
        'images': images.description,
        'engines': {
            name: {
                **dataclasses.asdict(result),
                'times_reference': ratios[name],
                'startup': dataclasses.asdict(startups[name]) if name in startups else None,
            }
            for name, result in found.items()
        },
        'missing': missing,
    }
    return Report('\n\n'.join(parts), data, functools.partial(chart.draw_latencies, found))


def measure_growth(args: argparse.Namespace) -> Report:
    """Compare sizes of the image."""
    images, model = samples.load_images(args.frames), _model(args)
    if model.size is None:
        from road_seg_ros import checkpoint

        size = checkpoint.load_info(model.path).input
        model = dataclasses.replace(model, size=(size.height, size.width))
    segmenters, missing = samples.open_segmenters(model, args.choices or EVERYTHING)
    info = next(iter(segmenters.values())).info
    found = growth.measure(segmenters, images.images[0], args.repeats or REPEATS_OF_A_SIZE)
    memory = growth.memory_over_time(segmenters, images.images[0], MEMORY_ROUNDS)
    runs = len(growth.SIZES) * len(segmenters)
    parts = [
        _describe_model(info.describe(), images, model.size),
        tables.growth_table(found),
        f'Memory of this process with all of them, after {runs}, {runs * MEMORY_ROUNDS // 2} and '
        f'{runs * MEMORY_ROUNDS} more images of all sizes: '
        f'{memory[0]:.0f}, {memory[MEMORY_ROUNDS // 2 - 1]:.0f}, {memory[-1]:.0f} MB',
        *([_list_missing(missing)] if missing else []),
    ]
    data = {
        'model': info.describe(),
        'engines': {name: dataclasses.asdict(result) for name, result in found.items()},
        'memory_mb': memory,
        'missing': missing,
    }
    return Report('\n\n'.join(parts), data, functools.partial(chart.draw_growth, found))


def measure_node(args: argparse.Namespace) -> Report:
    """Run the whole node over DDS."""
    if args.size is not None:
        raise UsageError(
            '--size does not go with --ros: the node runs the size that its model has'
        )
    results, missing = [], {}
    for choice, profile in itertools.product(args.choices or AUTO, ros_graph.TRANSPORTS):
        try:
            found = ros_graph.measure_node(
                _model(args), choice, args.frames, profile, args.rates, args.seconds
            )
        except (GraphError, OSError) as error:  # one that fails leaves the others their figures
            missing[f'{choice}, {ros_graph.TRANSPORTS[profile]}'] = str(error)
        else:
            results.append(found)
    if not results:
        raise GraphError('; '.join(dict.fromkeys(missing.values())))
    starts = ', '.join(f'{r.engine} {r.start_s:.1f} s ({r.transport})' for r in results)
    parts = [
        f'Middleware: {results[0].middleware}',
        tables.node_table(results),
        f'From the start of the node to the first mask: {starts}',
        *([_list_missing(missing)] if missing else []),
    ]
    data = {'nodes': [dataclasses.asdict(result) for result in results], 'missing': missing}
    return Report('\n\n'.join(parts), data, functools.partial(chart.draw_nodes, results))


def measure_transport(args: argparse.Namespace) -> Report:
    """Send images straight from a camera to a viewer."""
    runs = [
        ros_graph.measure_transport(
            args.frames, publisher, subscriber, reliability, TRANSPORT_IMAGES, TRANSPORT_HZ
        )
        for publisher, subscriber in itertools.product(ros_graph.TRANSPORTS, repeat=2)
        for reliability in ros_graph.RELIABILITIES
    ]
    return Report(
        tables.transport_table(runs), {'transports': [dataclasses.asdict(run) for run in runs]}
    )


def parse_rates(text: str) -> list[float]:
    """Turn '10,30' into [10.0, 30.0]."""
    try:
        rates = [float(part) for part in text.split(',')]
    except ValueError:
        rates = []
    if not rates or not all(0 < rate <= 1000 for rate in rates):
        raise argparse.ArgumentTypeError(f'must be rates in Hz, like 10,30,60, got {text!r}')
    return rates


def parse_names(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Return what turns 'fp32,int8' into a list of known names."""

    def parse(text: str) -> list[str]:
        names = text.split(',')
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(
                f'must be of {", ".join(known)}, with commas between, got {unknown[0]!r}'
            )
        return names

    return parse


def _model(args: argparse.Namespace) -> Model:
    return Model(args.model, args.device, args.size)


def _describe_model(description: str, images: Images, size: tuple[int, int] | None) -> str:
    text = f'{description}. {images.describe()}'
    return text if size is None else f'{text}, each seen at {size[0]}x{size[1]}'


def _list_missing(missing: dict[str, str]) -> str:
    return '\n'.join(['Not here:', *(f'- {name}: {why}' for name, why in missing.items())])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='road_seg_benchmark',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group()
    for option, measure in (
        ('--growth', measure_growth),
        ('--ros', measure_node),
        ('--transport', measure_transport),
    ):
        what.add_argument(
            option, dest='measure', action='store_const', const=measure, help=measure.__doc__
        )
    parser.set_defaults(measure=measure_engines)
    parser.add_argument(
        '--frames',
        metavar='DIR',
        help='folder of images, video, KITTI folder or rosbag2; default: a synthetic drive',
    )
    parser.add_argument('--model', default='', help='model file; default: the one that ships')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    parser.add_argument(
        '--engine',
        type=parse_names(ENGINES),
        help='auto, torch, openvino, or several with commas; default: everything that this '
        'machine has (with --ros: auto)',
    )
    parser.add_argument(
        '--precision',
        type=parse_names(PRECISIONS),
        help='auto, fp32, fp16, bf16, int8, or several with commas',
    )
    parser.add_argument(
        '--size',
        type=height_by_width,
        help='HEIGHTxWIDTH that the network sees, like 160x576; default: as the model says',
    )
    parser.add_argument(
        '--repeats',
        type=whole_number(1),
        help=f'images for each engine, default {REPEATS}; with --growth, for each size as well, '
        f'default {REPEATS_OF_A_SIZE}',
    )
    parser.add_argument(
        '--startups',
        type=whole_number(0),
        default=3,
        help='starts of a process, 0 for none, default 3',
    )
    parser.add_argument(
        '--rates', type=parse_rates, default=[10.0, 30.0, 60.0], help='Hz, default 10,30,60'
    )
    parser.add_argument(
        '--seconds',
        type=positive,
        default=20.0,
        help='at each rate, default 20; of fewer than 200 masks nothing is said of inference',
        metavar='S',
    )
    parser.add_argument('--json', type=new_file, help='write the figures to this file')
    parser.add_argument('--chart', type=new_file, help='draw them to this PNG file')
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, measure and report. Returns the exit status."""
    parser = _parser()
    args = parser.parse_args(arguments)
    args.choices = None
    if args.engine or args.precision:
        pairs = itertools.product(args.engine or ['auto'], args.precision or ['auto'])
        args.choices = [Choice(*pair) for pair in pairs]
    interrupt_on_sigterm()
    openmp.wait_asleep()  # as the node does
    try:
        if args.chart and args.measure is measure_transport:
            raise UsageError('--chart does not go with --transport, which has nothing to draw')
        if args.chart:
            chart.check(args.chart)
        here, before = machine.this_machine(), machine.load()
        report = args.measure(args)
        loads = [before, machine.load()]
        _print(report, here, loads)
        if args.json:
            data = {'machine': dataclasses.asdict(here), 'load': loads, **report.data}
            args.json.write_text(json.dumps(data, indent=1), encoding='utf-8')
        if args.chart:
            report.draw(args.chart)
    except (ValueError, OSError, ChartError, GraphError, StartupError, MemoryError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    return 0


def _print(report: Report, here: Machine, loads: Sequence[tuple[float, float, float]]) -> None:
    start, end = (f'{minute:.2f} ({five:.2f} over 5 minutes)' for minute, five, _ in loads)
    print(f'{here.describe()}\n- load: {start} at the start, {end} at the end\n')
    print(report.text, flush=True)
