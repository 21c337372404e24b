"""Evaluate reports what the rules say, in JSON and in pictures."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from straight_camera import CALIBRATION, seen_from_above

from road_seg_ros import checkpoint
from road_seg_ros.kitti import write_label
from road_seg_ros.metrics import NOT_ROAD, NOT_SCORED, ROAD, RoadCounts
from road_seg_ros.segmenter import RoadSegmenter
from training import evaluate
from training.bootstrap import confidence_intervals
from training.error_pictures import ErrorPictures, draw_errors
from training.kitti_road import find_pairs
from training.report import ImageResult, build

KEYS = {
    'max_f',
    'avg_precision',
    'precision',
    'recall',
    'fpr',
    'fnr',
    'threshold',
    'iou',
    'ece',
}


THRESHOLD = 0.41


def _arguments(model: Path, data: Path, *more: str | Path) -> list[str]:
    options = ['--model', model, '--data', data, '--device', 'cpu', '--engine', 'torch']
    return [str(option) for option in (*options, '--precision', 'fp32', *more)]


@pytest.fixture(scope='module')
def model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tiny model with a threshold inside the narrow range of its confidences."""
    path = tmp_path_factory.mktemp('model') / 'tiny.safetensors'
    network, info = checkpoint.load(tiny_model)
    checkpoint.save(path, network, dataclasses.replace(info, threshold=THRESHOLD))
    return path


@pytest.fixture(scope='module')
def segmenter(model: Path) -> RoadSegmenter:
    return RoadSegmenter.from_checkpoint(model, 'cpu', 'torch', 'fp32')


@pytest.fixture(scope='module')
def outputs(
    model: Path, kitti_like: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict, Path]:
    folder = tmp_path_factory.mktemp('evaluation')
    arguments = _arguments(model, kitti_like, '--json', folder / 'scores.json')
    for _ in range(2):  # the second replaces the pictures of the first
        assert evaluate.main([*arguments, '--pictures', str(folder / 'pictures')]) == 0
    return json.loads((folder / 'scores.json').read_text()), folder / 'pictures'


@pytest.fixture
def calibrated(kitti_like: Path, tmp_path: Path) -> Path:
    """Return a copy of three images of each category, with calibration files."""
    others = shutil.ignore_patterns('*00000[3-9].png')
    folder = Path(shutil.copytree(kitti_like, tmp_path / 'kitti', ignore=others))
    (folder / 'training' / 'calib').mkdir()
    for pair in find_pairs(folder):
        pair.calibration_path.write_text(CALIBRATION)
    return folder


def test_json_has_every_category_and_score(outputs: tuple[dict, Path], model: Path) -> None:
    report, _ = outputs
    assert set(report['perspective']) == {'urban', 'um', 'umm', 'uu'}
    for scores in report['perspective'].values():
        assert set(scores) == KEYS
        assert 0 <= scores['threshold'] <= 1
    assert (report['images'], report['bev'], report['model']) == (30, None, str(model))


def test_confidence_intervals_hold_the_score(outputs: tuple[dict, Path]) -> None:
    report, _ = outputs
    intervals = report['confidence_interval']
    assert intervals['bev'] is None
    assert set(intervals['perspective']) == {'urban', 'um', 'umm', 'uu'}
    for category, bounds in intervals['perspective'].items():
        for name in ('max_f', 'iou'):
            low, high = bounds[name]
            assert low < report['perspective'][category][name] < high


def test_scores_are_those_of_the_images_of_a_category(
    outputs: tuple[dict, Path], segmenter: RoadSegmenter, kitti_like: Path
) -> None:
    umm, urban = RoadCounts(), RoadCounts()
    for pair in find_pairs(kitti_like):
        confidence, label = segmenter(pair.read_image()).confidence, pair.read_label()
        urban.add(confidence, label)
        if pair.category == 'umm':
            umm.add(confidence, label)
    perspective = outputs[0]['perspective']
    assert perspective['umm'] == pytest.approx(umm.scores(THRESHOLD))
    assert perspective['urban'] == pytest.approx(urban.scores(THRESHOLD))


def test_pictures_are_sorted_from_the_worst(outputs: tuple[dict, Path]) -> None:
    names = sorted(path.name for path in outputs[1].iterdir())
    assert len(names) == 30
    ranks = [int(name.split('_')[0]) for name in names]
    scores = [float(name.split('_')[2]) for name in names]
    assert ranks == list(range(30))
    assert scores == sorted(scores)
    assert cv2.imread(str(outputs[1] / names[0])).shape == (94, 310, 3)


def test_errors_have_their_colours() -> None:
    image = np.full((1, 5, 3), 100, np.uint8)
    mask = np.array([[255, 0, 255, 0, 255]], np.uint8)
    label = np.array([[ROAD, ROAD, NOT_ROAD, NOT_ROAD, NOT_SCORED]], np.uint8)
    picture = draw_errors(image, mask, label)[0].tolist()
    assert picture == [[50, 177, 50], [50, 50, 177], [177, 50, 50], [100] * 3, [50] * 3]


def test_birds_eye_scores_are_those_of_the_road_in_metres(
    calibrated: Path, model: Path, segmenter: RoadSegmenter, tmp_path: Path
) -> None:
    counts: dict[str, list[RoadCounts]] = {'um': [], 'umm': [], 'uu': []}
    for pair in find_pairs(calibrated):
        confidence = seen_from_above(segmenter(pair.read_image()).confidence, outside=0)
        image_counts = RoadCounts()
        image_counts.add(confidence, seen_from_above(pair.read_label(), outside=NOT_SCORED))
        counts[pair.category].append(image_counts)
    path = tmp_path / 'scores.json'
    assert evaluate.main(_arguments(model, calibrated, '--json', path)) == 0
    report = json.loads(path.read_text())
    assert set(report['bev']) == set(report['perspective']) == {'urban', *counts}
    assert report['bev'] != report['perspective']
    for category, images in counts.items():
        expected = sum(images, RoadCounts()).scores(THRESHOLD)
        assert expected['iou'] > 0.1
        assert report['bev'][category] == pytest.approx(expected)
    urban = sum(sum(counts.values(), []), RoadCounts())
    assert report['bev']['urban'] == pytest.approx(urban.scores(THRESHOLD))
    expected = confidence_intervals(counts, THRESHOLD)
    for category, intervals in report['confidence_interval']['bev'].items():
        for name, bounds in intervals.items():
            assert bounds == pytest.approx(expected[category][name])


def test_one_missing_calibration_leaves_out_the_birds_eye_view_and_says_why(
    calibrated: Path, segmenter: RoadSegmenter, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = find_pairs(calibrated)
    pairs[2].calibration_path.unlink()
    results = evaluate.score_images(segmenter, pairs[:5])
    assert {result.bev for result in results} == {None}
    assert len(caplog.records) == 1
    assert '1 of 5 images have no calibration, first' in caplog.text
    assert 'calib/um_000002.txt' in caplog.text
    assert evaluate.score_images(segmenter, pairs[:2])[0].bev is not None  # all of these have one


def test_without_any_calibration_there_is_no_warning(
    kitti_like: Path, segmenter: RoadSegmenter, caplog: pytest.LogCaptureFixture
) -> None:
    results = evaluate.score_images(segmenter, find_pairs(kitti_like)[:2])
    assert {result.bev for result in results} == {None}
    assert not caplog.records


def test_a_bad_calibration_is_one_line(calibrated: Path, model: Path, capsys) -> None:
    (calibrated / 'training' / 'calib' / 'uu_000002.txt').write_text('P2: 1')
    assert evaluate.main(_arguments(model, calibrated)) == 2
    assert "uu_000002.txt, P2: must be 12 numbers, is '1'" in capsys.readouterr().err


def test_a_category_without_road_counts_in_all_of_them_alone() -> None:
    confidence = np.full((4, 4), 200, np.uint8)
    road, none = RoadCounts(), RoadCounts()
    road.add(confidence, np.full((4, 4), ROAD, np.uint8))
    none.add(confidence, np.full((4, 4), NOT_ROAD, np.uint8))
    built = build([ImageResult('country', none), ImageResult('town', road)], THRESHOLD)
    assert set(built['perspective']) == {'urban', 'town'}
    assert set(built['confidence_interval']['perspective']) == {'urban', 'town'}
    assert built['perspective']['town']['precision'] == 100
    assert built['perspective']['urban']['precision'] == 50


def test_pictures_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    pictures = ErrorPictures(tmp_path / 'pictures')
    shutil.rmtree(tmp_path / 'pictures')
    nothing = np.zeros((4, 4), np.uint8)
    with pytest.raises(OSError, match='um_000000.png cannot be written'):
        pictures.add('um_000000', np.zeros((4, 4, 3), np.uint8), nothing, nothing)


def test_an_evaluation_that_was_ended_leaves_no_pictures_to_the_next(tmp_path: Path) -> None:
    nothing, image = np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'um_000000.png'), image)  # not ours
    ErrorPictures(tmp_path).add('um_000001', image, nothing, nothing)
    pictures = ErrorPictures(tmp_path)
    pictures.add('um_000000', image, nothing, nothing)
    pictures.rank()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ['0000_f1_100.0_um_000000.png', 'um_000000.png']


def test_a_birds_eye_view_without_road_leaves_the_perspective_one(
    calibrated: Path, model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backwards = CALIBRATION.replace('R0_rect: 1 0 0 0 1 0 0 0 1', 'R0_rect: 1 0 0 0 1 0 0 0 -1')
    for path in (calibrated / 'training' / 'calib').iterdir():
        path.write_text(backwards)
    out = ('--json', tmp_path / 'scores.json', '--plots', tmp_path / 'plots')
    assert evaluate.main(_arguments(model, calibrated, *out)) == 0
    assert "no bird's-eye view: it shows no road; check" in caplog.text
    scores = json.loads((tmp_path / 'scores.json').read_text())
    assert scores['bev'] is None and scores['perspective']['urban']['max_f'] > 0


def test_images_without_road_have_no_scores(
    kitti_like: Path, model: Path, tmp_path, capsys
) -> None:
    data = Path(shutil.copytree(kitti_like, tmp_path / 'data'))
    for pair in find_pairs(data):
        write_label(pair.label_path, np.zeros_like(pair.read_label()))
    assert evaluate.main(_arguments(model, data)) == 2
    assert 'urban, perspective view: there is no road pixel' in capsys.readouterr().err


@pytest.mark.parametrize('category', ['stra\udcdfe', '_cam', 'a$b$', 'US$ \\frac$'])
def test_names_of_all_kinds_are_scored_and_drawn(
    kitti_like: Path, model: Path, tmp_path: Path, category: str, capsys
) -> None:
    pair = find_pairs(kitti_like)[0]
    for folder, name, source in (
        ('image_2', f'{category}_000000.png', pair.image_path),
        ('gt_image_2', f'{category}_road_000000.png', pair.label_path),
    ):
        (tmp_path / 'training' / folder).mkdir(parents=True)
        shutil.copy(source, tmp_path / 'training' / folder / name)
    plots, pictures = tmp_path / 'plots', tmp_path / 'pictures'
    out = ('--plots', plots, '--pictures', pictures, '--markdown', tmp_path / 'scores.md')
    assert evaluate.main(_arguments(model, tmp_path, *out)) == 0
    assert len(list(plots.iterdir())) == 2
    (picture,) = pictures.iterdir()
    assert picture.name.endswith(f'_{category}_000000.png')
    row = f'| {category} |'.replace('\udcdf', '?')
    assert row in (tmp_path / 'scores.md').read_text() and row in capsys.readouterr().out


def test_tables_and_plots_of_both_views(
    calibrated: Path, model: Path, tmp_path: Path, capsys
) -> None:
    out = tmp_path / 'new' / 'folder'
    arguments = _arguments(
        model, calibrated, '--markdown', out / 'scores.md', '--plots', out / 'plots'
    )
    assert evaluate.main(arguments) == 0
    text = (out / 'scores.md').read_text()
    assert text == capsys.readouterr().out
    rows = [line for line in text.splitlines() if line.startswith('|')]
    assert len(rows) == 2 * 6  # two views: head, rule, urban and three categories
    assert {row.count('|') for row in rows} == {13}
    assert [line for line in text.splitlines() if line.endswith('view:')] == [
        'Perspective view:',
        "Bird's-eye view:",
    ]
    for name in ('precision_recall', 'reliability'):
        for view in ('perspective', 'bev'):
            picture = cv2.imread(str(out / 'plots' / f'{name}_{view}.png'))
            assert picture.shape[0] > 600
            assert picture.std() > 10


def test_a_flipped_image_has_the_flipped_confidence(
    kitti_like: Path, segmenter: RoadSegmenter
) -> None:
    image = find_pairs(kitti_like)[0].read_image()
    mirrored = np.ascontiguousarray(image[:, ::-1])
    confidence = evaluate.predict(segmenter, image, flip=True)
    np.testing.assert_array_equal(
        evaluate.predict(segmenter, mirrored, flip=True), confidence[:, ::-1]
    )
    ways = segmenter(image).confidence, segmenter(mirrored).confidence[:, ::-1]
    mean = np.mean(ways, axis=0)
    assert np.abs(confidence - mean).max() <= 0.5
    assert np.any(ways[0] != ways[1])


def test_flip_is_off_unless_asked_for(
    outputs: tuple[dict, Path], calibrated: Path, model: Path, tmp_path: Path
) -> None:
    shutil.rmtree(calibrated / 'training' / 'calib')
    path = tmp_path / 'scores.json'
    scores = []
    for option in ([], ['--flip']):
        assert evaluate.main(_arguments(model, calibrated, '--json', path, *option)) == 0
        scores.append(json.loads(path.read_text()))
    assert [score['flip'] for score in (outputs[0], *scores)] == [False, False, True]
    assert scores[0]['perspective'] != scores[1]['perspective']


def test_the_network_may_see_another_size(
    outputs: tuple[dict, Path], model: Path, kitti_like: Path, tmp_path: Path
) -> None:
    path = tmp_path / 'scores.json'
    assert evaluate.main(_arguments(model, kitti_like, '--json', path, '--size', '96x288')) == 0
    scores = json.loads(path.read_text())
    assert (outputs[0]['size'], scores['size']) == ('160x576', '96x288')
    assert scores['perspective'] != outputs[0]['perspective']


def test_an_empty_fold_is_named(
    calibrated: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network, info = checkpoint.load(model)
    path = tmp_path / 'model.safetensors'
    split = {'folds': 5, 'fold': 4}
    checkpoint.save(path, network, dataclasses.replace(info, training=split))
    assert evaluate.main(_arguments(path, calibrated, '--validation-fold')) == 2
    assert 'fold 4 of 5 of these 9 images is empty' in capsys.readouterr().err


@pytest.mark.parametrize('option', ['--json', '--markdown'])
def test_a_report_that_cannot_be_written_is_told_before_scoring(
    kitti_like: Path, model: Path, tmp_path: Path, capsys, option: str
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        evaluate.main(_arguments(model, kitti_like, option, tmp_path))
    assert exit_info.value.code == 2
    assert f'{option}: must be a file to write, {tmp_path} is a folder' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--model', '/no/model'], "'/no/model' does not exist"),
        (['--data', '/no/data'], '/no/data/training/image_2 does not exist'),
        (['--engine', 'onnx'], "engine must be one of .*, got 'onnx'"),
    ],
)
def test_errors_are_one_line(
    kitti_like: Path, model: Path, capsys, arguments: list[str], words: str
) -> None:
    options = ['--model', str(model), '--data', str(kitti_like)]
    assert evaluate.main([*options, *arguments]) == 2
    assert re.search(f'error: .*{words}', capsys.readouterr().err)


def test_the_model_that_ships_scores_what_its_card_says(kitti_road: Path, tmp_path: Path) -> None:
    report = tmp_path / 'scores.json'
    assert evaluate.main(['--data', str(kitti_road), '--json', str(report)]) == 0
    urban = json.loads(report.read_text())['perspective']['urban']
    assert urban['max_f'] == pytest.approx(96.9, abs=0.2)
    assert urban['iou'] == pytest.approx(94.0, abs=0.2)
    assert urban['ece'] == pytest.approx(0.42, abs=0.05)
