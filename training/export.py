"""
Write a model as ONNX or OpenVINO, in float or int8, and check the file against the network.

    python -m training.export --format onnx --out road.onnx
    python -m training.export --format openvino --out road.xml --int8 --calibration KITTI_DIR

Normalisation and sigmoid are inside the file: camera pixels go in, road probability comes out.
What its user must know besides (size, threshold, licence of the data) is in its metadata.
Nothing is written unless the file gives what the network gives.

The second command also writes NAME.int8.safetensors beside the model file NAME.safetensors: with
it, the node runs the model in int8. With --size it does not, because the node takes any size.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from road_seg_ros import checkpoint
from road_seg_ros.arguments import height_by_width
from road_seg_ros.checkpoint import InputSize, ModelInfo
from road_seg_ros.engines.processor import has_int8
from training import command, int8_file, onnx_file, openvino_file
from training.export_check import CheckError, check, fit
from training.exportable import INPUT, LAYOUTS, ExportError, arrange, make_exportable, metadata
from training.kitti_road import Pair, find_pairs
from training.provenance import split_as_trained, why_scores_flatter

FORMATS = {'onnx': onnx_file, 'openvino': openvino_file}
CALIBRATION_IMAGES = 100  # NNCF's own default is 300; here 100 lose 0.01 to 0.03 of MaxF


@dataclass(frozen=True)
class Split:
    """Labelled images: some to calibrate int8 with, others to check the file on."""

    calibration: Sequence[Pair]
    held_out: Sequence[Pair]
    description: str


def export(
    model_path: str,
    format_name: str,
    out: Path,
    layout: str = 'uint8_nhwc_bgr',
    size: tuple[int, int] | None = None,
    calibration: Path | None = None,
    int8: bool = False,
) -> list[str]:
    """
    Write a model in another format and return what the check found, in lines of text.

    model_path: as `checkpoint.find` takes it. format_name: a key of FORMATS; layout: of LAYOUTS.
    size: the one (height, width) that the file takes; None for any. calibration: folder in KITTI
    Road's layout, to check the file on and, for int8, to calibrate with.
    CheckError if the file does not give what the network gives; then nothing is written.
    ExportError, CheckpointError and SourceError, all ValueErrors, say what else is wrong.
    """
    file_format = FORMATS[format_name]
    _check_output(out, file_format.SUFFIX, format_name)
    if int8 and calibration is None:
        raise ExportError('--int8 needs --calibration KITTI_DIR: images to measure ranges on')
    _check_installed((*file_format.PACKAGES, *(['nncf'] if int8 else [])))
    model_file = checkpoint.read(model_path)
    model_file.require_two_classes()
    for_node = int8 and format_name == 'openvino' and size is None
    if for_node and has_int8() and not os.access(model_file.path.parent, os.W_OK):
        raise ExportError(
            f'{model_file.path.parent} cannot be written to, and the file for the node belongs '
            'beside the model; give a copy of the model as --model'
        )
    network, info = model_file.network(), model_file.info
    if size is not None:
        info = dataclasses.replace(info, input=InputSize(*size, keep_aspect_ratio=False))
    split = Split([], [], '')
    if calibration is not None:
        split = split_pairs(find_pairs(calibration), info)

    exportable = make_exportable(network, info, layout, size)
    model = file_format.convert(exportable)
    if int8:
        model = quantize(
            model,
            split.calibration,
            lambda pair: arrange(fit(pair.read_image(), info)[None], layout),
        )
    facts = metadata(info, layout, model_file.path.name, 'int8' if int8 else file_format.PRECISION)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f'.{out.stem}-') as folder:
        unfinished = Path(folder) / out.name
        file_format.save(model, unfinished, facts)
        run = file_format.load(unfinished)
        lines = check(
            lambda images: run(arrange(images, layout)),
            network,
            info,
            any_size=size is None,
            int8=int8,
            pairs=split.held_out,
        )
        if for_node:
            lines += int8_file.write(model, model_file, split.calibration, split.held_out)
        for part in sorted(Path(folder).iterdir()):  # a .bin before its .xml
            part.replace(out.parent / part.name)
    return [*lines, *([f'checked on {split.description}'] if split.description else [])]


def split_pairs(pairs: Sequence[Pair], info: ModelInfo) -> Split:
    """
    Split labelled images so that none is used both to calibrate and to check.

    What the model was validated on is held out; if that is not known, every second image.
    ExportError if a part would be empty.
    """
    split = split_as_trained(pairs, info)
    if split is not None:
        used, held_out = split
        why = why_scores_flatter(info, used, held_out) or 'the model was not trained on it'
        description = f'fold {info.training["fold"]} of {info.training["folds"]}: {why}'
    else:
        used, held_out = list(pairs[::2]), list(pairs[1::2])
        description = (
            'every second image: this model has no validation fold, so it may have been trained '
            'on them, and MaxF flatters'
        )
    if not used or not held_out:
        raise ExportError(
            f'{len(pairs)} labelled images are too few: some are for calibration, others to check'
        )
    chosen = np.linspace(0, len(used) - 1, min(len(used), CALIBRATION_IMAGES)).round().astype(int)
    return Split([used[index] for index in chosen], held_out, description)


def quantize(model: Any, pairs: Sequence[Pair], prepare: Callable[[Pair], np.ndarray]) -> Any:
    """
    Return an ONNX or OpenVINO model in int8, with ranges measured on these images.

    prepare: turns a pair into the model's input. Every layer is quantised: with the score layers
    left in float, the model that ships was neither better (MaxF 95.41 instead of 95.42) nor
    slower.
    """
    import nncf

    logging.getLogger('nncf').setLevel(logging.ERROR)  # its own call silences every handler
    dataset = nncf.Dataset(pairs, lambda pair: {INPUT: prepare(pair)})
    return nncf.quantize(model, dataset, subset_size=len(pairs))


def _check_output(out: Path, suffix: str, format_name: str) -> None:
    if out.suffix != suffix:
        raise ExportError(f'--out must end in {suffix} for --format {format_name}, got {out}')
    if out.is_dir():
        raise ExportError(f'--out {out} is a folder; name a file')
    if not out.parent.is_dir():
        raise ExportError(f'--out {out}: there is no folder {out.parent}; make it first')
    if not os.access(out.parent, os.W_OK):
        raise ExportError(f'--out {out}: {out.parent} cannot be written to')


def _check_installed(packages: Sequence[str]) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        names = ' '.join(missing)
        raise ExportError(f'this export needs {names}: pip install {names}')


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, export and report. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', default='', help='model file; default: the one that ships')
    parser.add_argument('--format', choices=FORMATS, required=True)
    parser.add_argument(
        '--out', type=Path, required=True, help='file to write: .onnx, or .xml with a .bin beside'
    )
    parser.add_argument(
        '--input',
        choices=LAYOUTS,
        default='uint8_nhwc_bgr',
        help='; '.join(f'{name}: {description}' for name, description in LAYOUTS.items()),
    )
    parser.add_argument(
        '--size',
        type=height_by_width,
        help='HEIGHTxWIDTH: fix the input to this size, like 160x576; default: any size',
    )
    parser.add_argument(
        '--calibration',
        type=Path,
        metavar='KITTI_DIR',
        help='folder with training/image_2 and gt_image_2, to check on and to calibrate int8 with',
    )
    parser.add_argument('--int8', action='store_true', help='quantise to int8')
    args = parser.parse_args(arguments)
    try:
        lines = export(
            args.model, args.format, args.out, args.input, args.size, args.calibration, args.int8
        )
    except CheckError as error:
        print(f'error: {error}; nothing was written', file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:  # ExportError, CheckpointError, SourceError
        print(f'error: {error}', file=sys.stderr)
        return 2
    print('\n'.join([f'wrote {args.out}', *lines]))
    return 0


if __name__ == '__main__':
    command.run(main)
