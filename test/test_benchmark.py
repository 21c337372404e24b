"""The benchmark measures what it says, takes turns, and says what it cannot do."""

from __future__ import annotations

import itertools
import json
import mmap
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from graph import children, wait_for

from road_seg_ros import health, synthetic
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
from road_seg_ros.benchmark.cli import main
from road_seg_ros.benchmark.ros_graph import GraphError
from road_seg_ros.benchmark.samples import Choice, Model
from road_seg_ros.benchmark.startup import StartupError
from road_seg_ros.benchmark.timing import Durations, interleave
from road_seg_ros.engines import devices
from road_seg_ros.engines.processor import available_cores

TORCH = Choice('torch', 'fp32')
DEADLINE_S = 60.0
pytestmark = pytest.mark.usefixtures('keep_sigterm')  # main handles it


@pytest.fixture(scope='module')
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('frames')
    for index, scene in enumerate(synthetic.drive(0, 3, 94, 310)):
        cv2.imwrite(str(folder / f'{index}.png'), scene.image)
    return folder


# Timing


def test_durations_are_percentiles() -> None:
    found = Durations.of(range(101))
    assert (found.median, found.p95, found.p99) == (50, 95, 99)
    assert (found.mean, found.least, found.most, found.count) == (50, 0, 100, 101)


def test_everyone_takes_turns_with_the_same_items() -> None:
    calls: list[tuple[str, int]] = []

    def sampler(name: str):
        def sample(item: int) -> dict[str, float]:
            calls.append((name, item))
            return {'stage': float(item)}

        return sample

    found = interleave({n: sampler(n) for n in 'ab'}, range(100), 5, warm_up=1, block=3)
    names = ''.join(name for name, _ in calls)
    assert names == 'ab' + 'aaaabbbb' + 'bbbaaa'  # the first of each turn does not count
    assert [i for n, i in calls if n == 'a'] == [i for n, i in calls if n == 'b'] == [*range(8)]
    assert found['a']['stage'].count == 5
    assert found['a'] == found['b'] == {'stage': Durations.of([2, 3, 4, 6, 7])}


# Machine


def test_memory_and_cpu_time_of_a_process_are_its_own() -> None:
    before_mb, before_s = machine.resident_mb(), machine.cpu_seconds(os.getpid())
    # Not from the heap, which may hold as much that was freed and is still in RAM.
    held = np.frombuffer(mmap.mmap(-1, 50_000_000), np.uint8)
    while machine.cpu_seconds(os.getpid()) < before_s + 0.1:
        held += 1
    assert 40 < machine.resident_mb() - before_mb < 60
    assert machine.resident_mb(peak=True) >= machine.resident_mb()


def test_a_process_that_ended_has_no_memory() -> None:
    process = subprocess.Popen(['true'])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie until it is waited for
    with pytest.raises(ProcessLookupError, match='has ended'):
        machine.resident_mb(process.pid)
    process.wait()


def test_the_machine_is_described() -> None:
    text = machine.this_machine().describe()
    assert f'- {available_cores()} cores of ' in text
    assert f'OpenCV {cv2.__version__}' in text
    assert 'torch ' in text


def test_a_gpu_that_is_not_there_has_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PATH', '')
    assert np.isnan(machine.gpu_used_mb('cuda:0'))


@pytest.mark.parametrize('answer', ['[N/A]', '[Insufficient Permissions]', ''])
def test_a_gpu_that_tells_nothing_has_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    _fake_nvidia_smi(tmp_path, monkeypatch, f"echo '{answer}'")
    assert np.isnan(machine.gpu_used_mb('cuda:0'))


@pytest.mark.parametrize(
    ('visible', 'device', 'gpu'),
    [('', 'cuda:1', '1'), ('2,5', 'cuda:1', '5'), ('2', 'cuda:0', '2'), ('2', 'cuda', '2')],
)
def test_a_gpus_memory_is_that_of_the_visible_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str, device: str, gpu: str
) -> None:
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)
    _fake_nvidia_smi(tmp_path, monkeypatch, f'[[ "$*" == *"--id {gpu}" ]] && echo "300 MiB"')
    assert machine.gpu_used_mb(device) == pytest.approx(314.57, abs=0.01)


def _fake_nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = folder / 'nvidia-smi'
    program.write_text(f'#!/bin/bash\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv('PATH', str(folder), prepend=os.pathsep)


# Engines


def test_engines_are_compared(
    tiny_model: Path, frames: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, 'FEWEST_IN_STREAM', 2)
    monkeypatch.setattr(latency, 'STREAM_S', 0.01)
    report, picture = tmp_path / 'made' / 'report.json', tmp_path / 'chart.png'
    arguments = ['--frames', str(frames), '--model', str(tiny_model), '--device', 'cpu']
    arguments += ['--engine', 'torch,auto', '--precision', 'fp32,int8', '--repeats', '4']
    arguments += [
        '--size',
        '32x64',
        '--startups',
        '1',
        '--json',
        str(report),
        '--chart',
        str(picture),
    ]
    assert main(arguments) == 0
    data = json.loads(report.read_text())
    output = capsys.readouterr().out
    assert '3 images of' in output
    assert ', the first 3: 310x94, each seen at 32x64\n' in output
    assert '- torch int8: engine torch runs fp32 and bf16 on the CPU, not int8' in output

    torch = data['engines']['torch fp32']
    assert torch['times_reference'] == 1.0
    assert torch['whole']['count'] == 4
    assert 0 < torch['whole']['least'] <= torch['whole']['median'] <= torch['whole']['p99']
    stages = list(torch['stages'])
    assert stages[0] == 'convert'
    assert 'network' in stages
    assert stages[-1] == 'publish'
    assert torch['frames_per_s'] > 0
    start = torch['startup']
    assert list(start['stages_s']) == ['python', 'libraries', 'model', 'first mask']
    assert 0.2 < sum(start['stages_s'].values()) < 60
    assert 100 < start['resident_mb'] <= start['peak_mb']
    assert start['gpu_mb'] is None
    assert cv2.imread(str(picture)).std() > 5


def test_ratios_are_to_torch_fp32_or_the_first() -> None:
    assert tables.ratios({'a': 10.0, 'torch fp32': 20.0}) == {'a': 2.0, 'torch fp32': 1.0}
    assert tables.ratios({'a': 10.0, 'b': 40.0}) == {'a': 1.0, 'b': 0.25}


@pytest.mark.parametrize('engine', ['torch', 'openvino'])
def test_a_size_of_the_network_is_used_and_not_remembered(tiny_model: Path, engine: str) -> None:
    image = np.zeros((30, 40, 3), np.uint8)
    for size in ((64, 96), None, (32, 32)):  # a compiled network is kept from one to the next
        segmenter = Model(str(tiny_model), 'cpu', size).open(Choice(engine, 'fp32'))
        assert segmenter.info.input.fit(375, 1242) == (size or (160, 576))
        assert segmenter(image).mask.shape == (30, 40)


def test_nothing_of_training_and_nothing_of_ros_is_needed(tiny_model: Path, frames: Path) -> None:
    arguments = ['--frames', str(frames), '--model', str(tiny_model), '--engine', 'torch']
    arguments += ['--precision', 'fp32', '--device', 'cpu', '--repeats', '4', '--startups', '0']
    arguments += ['--size', '32x64']
    code = f"""
import sys
for name in ('rclpy', 'sensor_msgs', 'std_msgs', 'builtin_interfaces', 'matplotlib'):
    sys.modules[name] = None
from road_seg_ros.benchmark import latency
from road_seg_ros.benchmark.cli import main
latency.STREAM_S, latency.FEWEST_IN_STREAM = 0.01, 2
assert main({arguments!r}) == 0
print({{'training', 'torchvision', 'lightning'}} & set(sys.modules))
"""
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == 'set()'
    assert 'publish' not in result.stdout


@pytest.mark.parametrize('engine', ['torch,openvino', 'torch'])
def test_an_engine_without_its_package_is_not_here(
    tiny_model: Path, frames: Path, engine: str
) -> None:
    pytest.importorskip('openvino', reason='openvino is not installed')
    arguments = ['--frames', str(frames), '--model', str(tiny_model), '--engine', engine]
    arguments += ['--precision', 'fp32', '--device', 'cpu', '--repeats', '1', '--startups', '0']
    code = f"""
import sys
sys.modules['torch'] = None
from road_seg_ros.benchmark import latency
from road_seg_ros.benchmark.cli import main
latency.STREAM_S, latency.FEWEST_IN_STREAM = 0.01, 2
sys.exit(main({arguments!r}))
"""
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    why = 'engine torch needs PyTorch, which cannot be imported'
    if engine == 'torch':
        assert (result.returncode, result.stderr.count('\n')) == (2, 1)
        assert result.stderr.startswith(f'error: {why}')
    else:
        assert result.returncode == 0, result.stderr
        assert '| openvino fp32 | cpu |' in result.stdout
        assert f'Not here:\n- torch fp32: {why}' in result.stdout
    assert 'pip install torch' in result.stdout + result.stderr


def test_a_start_may_do_without_pytorch(
    tiny_model: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> bool:  # as the import of PyTorch that a GPU driver leads to
        raise ModuleNotFoundError("No module named 'torch'")

    monkeypatch.setattr(devices, 'may_have_gpu', fail)
    described = {'path': str(tiny_model), 'device': 'cpu', 'size': [32, 64]}
    described |= {'engine': 'torch', 'precision': 'fp32'}
    monkeypatch.setattr(sys, 'argv', ['startup', '0.0', json.dumps(described)])
    startup.main()
    assert 'first mask' in json.loads(capsys.readouterr().out)['stages_s']


def test_a_start_that_fails_says_why() -> None:
    with pytest.raises(StartupError, match='torch fp32 does not start.*/no/model.*does not exist'):
        startup.measure(Model('/no/model'), TORCH, 1)


def test_a_start_that_hangs_is_told(monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> None:
    monkeypatch.setattr(startup, 'TIMEOUT_S', 0.01)
    with pytest.raises(StartupError, match='torch fp32 has no first mask after 0.01 s'):
        startup.measure(Model(str(tiny_model)), TORCH, 1)


def test_long_recordings_are_cut(monkeypatch: pytest.MonkeyPatch, frames: Path) -> None:
    monkeypatch.setattr(samples, 'MOST_IMAGES', 2)
    assert len(samples.load_images(str(frames)).images) == 2
    monkeypatch.setattr(samples, 'MOST_BYTES', 1)
    assert len(samples.load_images(str(frames)).images) == 1


# Growth


def test_a_line_is_fitted() -> None:
    line = growth.fit_line([1, 2, 4], [13, 16, 22])
    assert (line.base_ms, line.ms_per_megapixel, line.r_squared) == pytest.approx((10, 3, 1))
    assert growth.fit_line([1, 2, 4], [5, 1, 6]).r_squared < 0.5
    assert growth.fit_line([1, 2], [5, 5]).r_squared == 1.0


def test_growth_sees_every_size(
    tiny_model: Path, frames: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, 'SIZES', ((32, 24), (64, 48), (320, 240)))
    monkeypatch.setattr(chart, 'SIZES', growth.SIZES)
    report, picture = tmp_path / 'report.json', tmp_path / 'chart.png'
    arguments = ['--growth', '--frames', str(frames), '--model', str(tiny_model)]
    arguments += ['--engine', 'torch', '--device', 'cpu', '--precision', 'fp32', '--repeats', '2']
    arguments += ['--size', '32x64']
    assert main([*arguments, '--json', str(report), '--chart', str(picture)]) == 0
    data = json.loads(report.read_text())
    durations = data['engines']['torch fp32']['durations']
    assert list(durations) == ['32x24', '64x48', '320x240']
    assert all(found['count'] == 2 and found['median'] > 0 for found in durations.values())
    assert len(data['memory_mb']) == 20
    assert max(data['memory_mb']) - min(data['memory_mb']) < 20
    assert 'after 3, 30 and 60 more images' in capsys.readouterr().out
    assert picture.is_file()


# The node, over DDS


def test_the_whole_node_is_measured(tiny_model: Path, frames: Path) -> None:
    model = Model(str(tiny_model), 'cpu')
    # Long enough for most of the node's inferences to be of images whose latency counts.
    result = ros_graph.measure_node(model, TORCH, str(frames), True, [20.0], 5.0)
    assert (result.engine, result.transport) == ('torch fp32', 'fastdds.xml')
    assert result.middleware.startswith('rmw_')
    assert 0.5 < result.start_s < ros_graph.START_TIMEOUT_S
    [run] = result.runs
    assert run.sent == 100
    assert 5 < run.sent_hz < 21
    assert 0 < run.masks <= run.received <= run.sent
    assert 0 < run.inference_ms < run.latency.median
    assert run.rest_ms == run.latency.median - run.inference_ms
    assert run.latency.count <= run.masks  # less the first second
    assert run.jitter.mean >= 0
    assert 0 < run.node_cores < os.cpu_count() + 0.5
    assert run.node_mb > 100
    table = tables.node_table([result])
    assert '| torch fp32 | fastdds.xml | 20 | 100 at ' in table
    assert len(table.splitlines()) == 3


def test_a_node_that_cannot_start_is_told(frames: Path) -> None:
    with pytest.raises(GraphError, match="road_seg_node ended: .*'/no/model' does not exist"):
        ros_graph.measure_node(Model('/no/model'), TORCH, str(frames), True, [10.0], 1.0)


@pytest.fixture
def one_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ros_graph, 'TRANSPORTS', {True: 'fastdds.xml'})


def test_a_node_that_fails_leaves_the_others_their_figures(
    tiny_model: Path, frames: Path, tmp_path: Path, one_transport: None, capsys
) -> None:
    arguments = ['--ros', '--frames', str(frames), '--model', str(tiny_model), '--device', 'cpu']
    arguments += ['--engine', 'torch', '--precision', 'int8,fp32', '--rates', '20']
    report = tmp_path / 'report.json'
    assert main([*arguments, '--seconds', '2', '--json', str(report)]) == 0
    output = capsys.readouterr().out
    assert '| torch fp32 | fastdds.xml | 20 | 40 at ' in output
    assert 'Not here:\n- torch int8, fastdds.xml: road_seg_node ended: ' in output
    data = json.loads(report.read_text())
    assert [node['engine'] for node in data['nodes']] == ['torch fp32']
    assert list(data['missing']) == ['torch int8, fastdds.xml']


def test_nodes_that_all_fail_are_an_error(one_transport: None, frames: Path, capsys) -> None:
    assert main(['--ros', '--frames', str(frames), '--model', '/no/model']) == 2
    assert 'error: road_seg_node ended: ' in capsys.readouterr().err


def test_a_terminated_run_takes_its_node_along(tiny_model: Path, frames: Path) -> None:
    command = [sys.executable, '-m', 'road_seg_ros.benchmark', '--ros', '--frames', str(frames)]
    command += ['--model', str(tiny_model), '--device', 'cpu']
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: 'road_seg_ros.main' in str(children(process.pid)), 'the node to start')
    started = children(process.pid)
    process.terminate()
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, errors) == (130, 'interrupted\n')
    assert len(started) == 3  # with the camera and the viewer
    assert not [pid for pid in started if Path(f'/proc/{pid}').exists()]


def test_transports_are_compared(frames: Path) -> None:
    run = ros_graph.measure_transport(str(frames), True, False, 'reliable', 10, 20.0)
    assert (run.publisher, run.subscriber) == ('fastdds.xml', 'default')
    assert run.sent == 10
    assert 8 <= run.received <= 10
    assert 0 < run.latency.median < 1000
    rows = tables.transport_table([run]).splitlines()
    assert rows[0] == '| publisher | subscriber | reliable: received, median |'
    assert rows[2].startswith(f'| fastdds.xml | default | {run.received} of 10, ')


def test_loss_jitter_and_latency_come_from_stamps() -> None:
    second = 1_000_000_000
    stamps = [second * i // 2 for i in range(1, 9)]  # at 2 Hz
    delays = [9, 9, 10, 20, 10, None, 10, 10]  # ms; the sixth is lost
    arrivals = [
        (s, s + d * 1_000_000) for s, d in zip(stamps, delays, strict=True) if d is not None
    ]
    counters = {'received': '17', 'inference median (ms)': '4.0'}
    after = {'arrivals_ns': arrivals, 'diagnostics': counters}
    run = ros_graph._node_run(2.0, stamps, {'received': '10'}, after, 0.5, 100.0)
    assert (run.sent, run.received, run.masks) == (8, 7, 7)
    assert run.sent_hz == pytest.approx(2)
    assert run.latency == Durations.of([10, 20, 10, 10, 10])  # not those of the first second
    assert run.rest_ms == 6
    # Between them: 510, 490, 1000 and 500 ms.
    assert run.jitter.mean == pytest.approx((20 + 510 + 500) / 3)


def test_a_node_without_masks_has_no_latency() -> None:
    after = {'arrivals_ns': [], 'diagnostics': {'received': '0', 'inference median (ms)': ''}}
    run = ros_graph._node_run(10.0, [1, 2], {'received': '0'}, after, 0.5, 100.0)
    assert run.latency is None
    assert run.jitter is None
    assert np.isnan(run.rest_ms)
    result = ros_graph.NodeResult('torch fp32', 'default', 'rmw', 1.0, [run])
    assert '| 0 | - | - | - | - | - | - |' in tables.node_table([result])


def test_inference_of_earlier_images_is_not_taken_for_this_rates() -> None:
    durations = Durations.of([1, 2, 3])
    assert ros_graph.NODE_WINDOW == health.LATENCY_WINDOW
    for masks, rest in ((199, '-'), (200, '0.5')):
        run = ros_graph.NodeRun(10.0, 300, 10.0, 300, masks, durations, 1.5, None, 1, 1)
        result = ros_graph.NodeResult('torch fp32', 'default', 'rmw', 1.0, [run])
        assert f'| 2.0 | 2.9 | 3.0 | {rest} | - |' in tables.node_table([result])


def test_nodes_are_drawn(tmp_path: Path) -> None:
    durations = Durations.of([1, 2, 3])
    runs = [ros_graph.NodeRun(r, 9, r, 9, 9, durations, 1, None, 1, 1) for r in (10.0, 30.0)]
    lost = ros_graph.NodeRun(60.0, 9, 60.0, 0, 0, None, 1, None, 1, 1)
    results = [ros_graph.NodeResult('torch fp32', 'default', 'rmw', 1.0, [*runs, lost])]
    chart.draw_nodes(results, tmp_path / 'chart.png')
    assert cv2.imread(str(tmp_path / 'chart.png')).std() > 5


# What cannot be done


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--frames', '/no/folder'], 'error: /no/folder does not exist'),
        (['--model', '/no/model'], "error: model file '/no/model' does not exist"),
        (['--device', 'gpu'], "error: device must be auto, cpu, cuda or cuda:N, got 'gpu'"),
        (['--engine', 'torch', '--precision', 'int8', '--device', 'cpu'], 'not int8'),
        (
            ['--engine', 'tensorrt'],
            'must be of auto, torch, openvino, with commas',
        ),
        (['--precision', 'fp32,'], "fp16, bf16, int8, with commas between, got ''"),
        (['--size', '160'], "--size: must be HEIGHTxWIDTH in pixels, like 160x576, got '160'"),
        (['--rates', '10,fast'], "--rates: must be rates in Hz, like 10,30,60, got '10,fast'"),
        (['--rates', '0'], "must be rates in Hz, like 10,30,60, got '0'"),
        (['--repeats', '0'], "must be a whole number of at least 1, got '0'"),
        (['--seconds', '0'], "--seconds: must be a number above 0, got '0'"),
        (['--startups', '-1'], "--startups: must be a whole number of at least 0, got '-1'"),
        (['--ros', '--size', '160x576'], 'error: --size does not go with --ros'),
        (['--transport', '--chart', 'x.png'], 'error: --chart does not go with --transport'),
        (['--chart', 'x.foo'], 'error: --chart must name a picture, like chart.png, got x.foo'),
        (['--chart', 'x'], 'error: --chart must name a picture, like chart.png, got x'),
        (['--ros', '--growth'], 'not allowed with argument'),
    ],
    ids=lambda value: ' '.join(value) if isinstance(value, list) else '',
)
def test_what_cannot_be_done_is_one_line(arguments: list[str], words: str, capsys) -> None:
    short = ['--repeats', '1'] if '--repeats' not in arguments else []
    try:
        status = main([*arguments, *short])
    except SystemExit as error:  # of argparse
        status = error.code
    assert status == 2
    shown = capsys.readouterr()
    assert words in shown.err
    assert not shown.out  # nothing was measured


def test_a_chart_without_matplotlib_is_refused_before_measuring(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys
) -> None:
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    assert main(['--chart', str(tmp_path / 'chart.png')]) == 2
    assert 'pip install matplotlib, or leave --chart out' in capsys.readouterr().err


def test_a_chart_that_cannot_be_written_leaves_the_figures(
    tiny_model: Path, frames: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, 'FEWEST_IN_STREAM', 2)
    monkeypatch.setattr(latency, 'STREAM_S', 0.01)
    (tmp_path / 'chart.png').symlink_to('/dev/full')
    arguments = ['--frames', str(frames), '--model', str(tiny_model), '--device', 'cpu']
    arguments += ['--engine', 'torch', '--precision', 'fp32', '--repeats', '1', '--startups', '0']
    arguments += ['--size', '32x64', '--chart', str(tmp_path / 'chart.png')]
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert '| torch fp32 | cpu |' in shown.out
    assert shown.err == 'error: [Errno 28] No space left on device\n'


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_one_line(
    tiny_model: Path,
    frames: Path,
    capsys,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    monkeypatch.setattr(latency, 'measure', lambda *_: signal.raise_signal(number))
    arguments = ['--frames', str(frames), '--model', str(tiny_model), '--engine', 'torch']
    assert main([*arguments, '--precision', 'fp32', '--device', 'cpu']) == 130
    assert capsys.readouterr() == ('', 'interrupted\n')


def test_a_report_that_cannot_be_written_is_told_before_measuring(capsys) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(['--json', '/proc/no/report.json'])
    assert exit_info.value.code == 2
    assert '--json: /proc/no cannot be made: No such file' in capsys.readouterr().err


def test_the_command_is_a_module_too() -> None:
    command = [sys.executable, '-m', 'road_seg_ros.benchmark', '--help']
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0
    options = itertools.chain(('--frames', '--growth', '--ros', '--transport', '--chart'))
    assert all(option in result.stdout for option in options)
