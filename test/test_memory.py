"""Memory that was freed goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

ALLOCATE_IN_THREADS = """
import ctypes, os, sys, threading
from road_seg_ros import memory
if sys.argv[1] == 'one':
    memory.use_one_heap()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.fopen.restype = ctypes.c_void_p
started = threading.Barrier(4)
def allocate():
    started.wait()
    for _ in range(100):
        libc.malloc(ctypes.c_size_t(1000))
threads = [threading.Thread(target=allocate) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
out = ctypes.c_void_p(libc.fopen(b'/dev/stdout', b'w'))
libc.malloc_info(0, out)
libc.fclose(out)
"""

OPEN_AND_CLOSE = """
import os, re
import numpy as np
from road_seg_ros.segmenter import RoadSegmenter
def memory_mb():
    return int(re.search(r'RssAnon:\\s+(\\d+)', open('/proc/self/status').read())[1]) / 1024
def use(sizes):
    segmenter = RoadSegmenter.from_checkpoint(device='cpu', engine='openvino', precision='fp32')
    for height, width in sizes:
        segmenter(np.zeros((height, width, 3), np.uint8))
    segmenter.close()
    return memory_mb()
capacity = os.environ.get('ONEDNN_PRIMITIVE_CACHE_CAPACITY')
once = use([(94, 310)])
assert os.environ.get('ONEDNN_PRIMITIVE_CACHE_CAPACITY') == capacity  # PyTorch reads it too
sides = range(100, 700, 50)
print(use([(94, side) for side in sides] + [(side, 94) for side in sides]) - once)
"""


def _run(code: str, *arguments: str, **environment: str) -> str:
    command = ['env', *(f'{k}={v}' for k, v in environment.items()), sys.executable, '-c', code]
    result = subprocess.run([*command, *arguments], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='glibc is on Linux')
def test_threads_share_one_heap() -> None:
    assert _run(ALLOCATE_IN_THREADS, 'several').count('<heap nr=') > 1
    assert _run(ALLOCATE_IN_THREADS, 'one').count('<heap nr=') == 1
    assert _run(ALLOCATE_IN_THREADS, 'one', MALLOC_ARENA_MAX='8').count('<heap nr=') > 1


def test_a_closed_engine_keeps_nothing_of_the_sizes_it_met() -> None:
    pytest.importorskip('openvino', reason='openvino is not installed')
    growth_mb = float(_run(OPEN_AND_CLOSE))
    assert growth_mb < 6
    kept_mb = float(_run(OPEN_AND_CLOSE, ONEDNN_PRIMITIVE_CACHE_CAPACITY='1024'))
    assert kept_mb > growth_mb + 6  # or there is nothing to see here
