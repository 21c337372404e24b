"""
Check everything that needs a GPU, once: correctness, speed, memory, start-up and training.

    python -m training.gpu_check --out DIR
    python -m training.gpu_check --out DIR --model model.safetensors --data KITTI_DIR
    python -m training.gpu_check --out DIR --device cpu    # the same, small: to check the check

Takes less than 8 minutes and writes gpu_check.md and gpu_check.json to DIR, anew after each
finding, so that one that is cut short leaves what it found. Needs torch, numpy, OpenCV and
safetensors; the part about training needs Lightning too, and says so where it is missing. The exit
status is 0 if everything passed, 1 if something did not, 2 if there is no GPU or the arguments are
wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from road_seg_ros import checkpoint
from road_seg_ros.checkpoint import CheckpointError, InputSize, ModelInfo
from road_seg_ros.fcn8 import FCN8
from training import command
from training.gpu_correctness import Subject, check_all
from training.gpu_report import COMPACT, FULL, Check, Extent, Finding
from training.gpu_speed import check_growth, check_options, check_speed, check_startup
from training.gpu_training import check_training

KITTI_SIZE = (375, 1242)

ON_GPU = Extent(
    width=1.0,
    input=InputSize(160, 576),
    sizes=(KITTI_SIZE, (480, 640), (64, 64), (97, 131), (1080, 1920), (2160, 3840)),
    precisions=('fp32', 'fp16', 'bf16'),
    precision='fp16',
    repeats=500,
    images=289,  # as many as KITTI Road has
    batches=40,
    epochs=6,
    overrides=(),
)
ON_CPU = Extent(
    width=0.05,
    input=InputSize(64, 96),
    sizes=((75, 124), (97, 131)),
    precisions=('fp32', 'bf16'),
    precision='fp32',
    repeats=5,
    images=6,
    batches=2,
    epochs=3,
    overrides=('width=0.05', 'input_height=32', 'input_width=64', 'batch_size=2'),
)


def check_correctness(check: Check) -> Iterator[Finding]:
    """Compare with the CPU, and try everything that can go wrong."""
    extent = check.extent
    network, info = check.models[COMPACT]
    yield from check_all(
        Subject(network, info, check.device, extent.precisions, extent.sizes, extent.repeats)
    )


PARTS = {
    'Correctness': check_correctness,
    'Speed': check_speed,
    'Growth': check_growth,
    'Start-up and memory': check_startup,
    'Training': check_training,
    'Options': check_options,
}


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, check and report. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, required=True, help='folder for the report')
    parser.add_argument('--model', default='', help='model file; the one that ships by default')
    parser.add_argument('--data', type=Path, help="KITTI Road's folder; synthetic by default")
    parser.add_argument('--device', default='cuda', choices=('cuda', 'cpu'))
    args = parser.parse_args(arguments)
    if args.device == 'cuda' and not torch.cuda.is_available():
        print(
            f'error: PyTorch {torch.__version__} finds no CUDA GPU here; run this where there is '
            'one, or check the script itself with --device cpu',
            file=sys.stderr,
        )
        return 2
    try:
        on_gpu = args.device == 'cuda'
        extent = ON_GPU if on_gpu else ON_CPU
        torch.manual_seed(0)
        full = FCN8(extent.width, 'fc1024').eval(), ModelInfo({}, extent.input)
        models = {FULL: full}
        models[COMPACT] = checkpoint.load(args.model) if on_gpu or args.model else full
        args.out.mkdir(parents=True, exist_ok=True)
    except (CheckpointError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    if not on_gpu:
        torch.set_num_threads(1)  # what is small is quicker so
    device = torch.device('cuda', 0) if on_gpu else torch.device('cpu')
    check = Check(device, extent, models, args.data, args.out)
    check.run(PARTS)
    print(
        f'wrote {args.out / "gpu_check.md"}; {"all passed" if check.passed else "NOT all passed"}'
    )
    return 0 if check.passed else 1


if __name__ == '__main__':
    command.run(main)
