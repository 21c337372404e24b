"""Run the network with OpenVINO, on the CPU."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from road_seg_ros import __version__
from road_seg_ros.checkpoint import Checkpoint
from road_seg_ros.engines import EngineError, compiled_cache, openvino_graph, quantization
from road_seg_ros.engines.on_cpu import CpuEngine
from road_seg_ros.engines.processor import affinity, available_cores, has_int8
from road_seg_ros.engines.quantization import Quantization

# What OpenVINO calls the arithmetic of what is not int8.
TYPE_NAMES = {'fp32': 'f32', 'bf16': 'bf16', 'int8': 'f32'}
# The modules of which the compiled model is made, beside the model file.
MAKE_THE_GRAPH = tuple(
    Path(__file__).parents[1] / name
    for name in (
        *('architecture.py', 'checkpoint.py', 'geometry.py'),
        *('engines/openvino_graph.py', 'engines/quantization.py'),
    )
)
KERNEL_CACHE = 'ONEDNN_PRIMITIVE_CACHE_CAPACITY'  # environment of oneDNN


@functools.cache
def core() -> Any:
    """
    Return the one `openvino.Core` of this process.

    Each further one loads the CPU plugin again, which gives the thread another stack for signals;
    when they do not go in reverse order, the thread is left with one that is unmapped, and its
    next signal (Ctrl-C, or a child process that ends) is a segmentation fault.
    """
    return import_openvino().Core()


def import_openvino() -> ModuleType:
    """
    Return the module openvino, without its telemetry.

    Its converter would report each use to Google Analytics, unless that module is missing.
    """
    if 'openvino' not in sys.modules:
        sys.modules.setdefault('openvino_telemetry', None)
    import openvino

    return openvino


class OpenVinoEngine(CpuEngine):
    """
    OpenVINO on the CPU. See `Engine`.

    precision: fp32, bf16 or int8; ranges: for int8, those beside the model file if None.
    """

    name = 'openvino'

    def __init__(
        self, checkpoint: Checkpoint, precision: str, ranges: Quantization | None = None
    ) -> None:
        try:
            import_openvino()
        except ImportError as error:
            raise EngineError(
                f'engine openvino needs the package openvino ({error}): pip install openvino, or '
                'set engine to torch'
            ) from error
        if precision not in TYPE_NAMES:
            raise EngineError(f'engine openvino runs fp32, bf16 and int8, not {precision}')
        if precision == 'int8':
            if not has_int8():
                raise EngineError(
                    'precision int8 needs a processor with VNNI or AMX instructions, which this '
                    'one has not; set precision to auto'
                )
            ranges = ranges or _read_ranges(checkpoint)
        super().__init__(checkpoint.info.input, precision)
        with _without_kernel_cache():
            compiled, self.from_cache = _compiled(checkpoint, precision, ranges)
        _require_precision(compiled, precision)
        self._compiled = compiled

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) BGR -> round(255 x road probability), uint8 (H, W)."""
        confidence, scores = self._compiled(np.ascontiguousarray(pixels)[None]).values()
        self.require_finite(scores)
        return confidence[0, 0]

    def close(self) -> None:
        """Free the memory of the network."""
        self._compiled = None


@contextlib.contextmanager
def _without_kernel_cache() -> Iterator[None]:
    """
    Let OpenVINO's oneDNN keep no kernels beside those that each compiled model keeps itself.

    It would keep up to 1024, with their memory, for engines long closed. It reads this once, when
    it compiles first. Not for the whole process: PyTorch has a oneDNN too, which needs its cache.
    A value of the user's has precedence.
    """
    if KERNEL_CACHE in os.environ:
        yield
        return
    os.environ[KERNEL_CACHE] = '0'
    try:
        yield
    finally:
        os.environ.pop(KERNEL_CACHE, None)  # another thread may have been quicker


def _read_ranges(checkpoint: Checkpoint) -> Quantization:
    try:
        return quantization.read(checkpoint)
    except EngineError as error:
        raise EngineError(f'{error}, or set precision to auto') from error


def _compiled(
    checkpoint: Checkpoint, precision: str, ranges: Quantization | None
) -> tuple[Any, bool]:
    """Compile the network, or take what an earlier start compiled; say whether it did."""
    options = _options(precision)
    key = _fingerprint(checkpoint, ranges, options)
    if (content := compiled_cache.read(key)) is not None:
        try:
            return core().import_model(content, 'CPU', options), True
        except RuntimeError:
            pass  # of another kind than its name says; made again below
    model = openvino_graph.build(checkpoint.weights(), checkpoint.info, ranges)
    compiled = core().compile_model(model, 'CPU', options)
    stream = io.BytesIO()
    compiled.export_model(stream)
    compiled_cache.write(key, stream.getvalue())
    return compiled, False


def _options(precision: str) -> dict[str, Any]:
    cores = available_cores()
    options = {
        'PERFORMANCE_HINT': 'LATENCY',
        'INFERENCE_PRECISION_HINT': TYPE_NAMES[precision],
        'INFERENCE_NUM_THREADS': cores,
    }
    if cores < affinity():
        # A quota names no cores. OpenVINO would take the first ones, as every other process does.
        options['ENABLE_CPU_PINNING'] = False
    return options


def _require_precision(compiled: Any, precision: str) -> None:
    """Raise EngineError if OpenVINO took another precision, as it does without saying so."""
    found = compiled.get_property('INFERENCE_PRECISION_HINT').get_type_name()
    if found != TYPE_NAMES[precision]:
        raise EngineError(
            f'precision {precision} cannot be had: OpenVINO calculates in {found} on this '
            'processor; set precision to fp32'
        )


def _fingerprint(
    checkpoint: Checkpoint, ranges: Quantization | None, options: dict[str, Any]
) -> str:
    """Return a name for everything that the compiled model depends on."""
    circumstances = (
        __version__,
        *(path.read_bytes() for path in MAKE_THE_GRAPH),  # they change between versions
        import_openvino().__version__,
        core().get_property('CPU', 'FULL_DEVICE_NAME'),
        options,
        checkpoint.digest(),
        checkpoint.info,  # whose input size may have been replaced
        ranges and ranges.digest(),
    )
    return hashlib.sha256(repr(circumstances).encode()).hexdigest()
