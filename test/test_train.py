"""Training learns on small data, resumes, and writes a model that others can use."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from road_seg_ros import checkpoint
from training import config, evaluate, train
from training.config import TrainingConfig
from training.dataset import flip_every_second, training_transform
from training.kitti_road import NOT_SCORED

CONFIGS = Path(__file__).parent.parent / 'training' / 'configs'
SMALL = (
    'width=0.1',
    'head=none',
    'backbone=random',
    'init_std=0.1',
    'input_height=64',
    'input_width=192',
    'synthetic=0',
    'batch_size=6',
    'lr=3e-3',
    'backbone_lr=3e-3',
    'precision=32-true',
    'workers=0',
)


def _train(data: Path, out: Path, *arguments: str) -> int:
    recipe = str(CONFIGS / 'compact.yaml')
    options = ['--config', recipe, '--data', str(data), '--out', str(out)]
    return train.main([*options, *SMALL, *arguments])


def _losses(out: Path) -> list[float]:
    with open(out / 'csv' / 'version_0' / 'metrics.csv', newline='') as file:
        return [float(row['loss_epoch']) for row in csv.DictReader(file) if row['loss_epoch']]


@pytest.fixture(scope='module')
def run(kitti_like: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('run')
    assert _train(kitti_like, out, 'epochs=12', 'validate_every=4') == 0
    return out


def test_training_learns_the_road(run: Path) -> None:
    losses = _losses(run)
    assert len(losses) == 12
    assert losses[-1] < 0.6 * losses[0]
    info = checkpoint.load_info(run / 'model.safetensors')
    assert info.metrics['max_f'] > 70
    assert 0 < info.threshold < 1


def test_the_model_knows_where_it_comes_from(run: Path) -> None:
    info = checkpoint.load_info(run / 'model.safetensors')
    assert info.training['epochs'] == 12
    assert info.training['lr'] == 3e-3
    assert (info.input.height, info.input.width) == (64, 192)
    assert info.architecture == {'width': 0.1, 'head': 'none', 'classes': 2}
    assert 'KITTI' in info.data and 'fold 4 of 5' in info.data
    assert 'CC BY-NC-SA' in info.data_license
    assert info.metrics['threshold'] == info.threshold


def test_evaluate_gives_the_score_that_training_measured(
    run: Path, kitti_like: Path, tmp_path: Path
) -> None:
    model, report = run / 'model.safetensors', tmp_path / 'scores.json'
    arguments = ['--model', str(model), '--data', str(kitti_like), '--json', str(report)]
    arguments += ['--engine', 'torch', '--precision', 'fp32', '--validation-fold']
    assert evaluate.main(arguments) == 0
    import json

    content = json.loads(report.read_text())
    urban = content['perspective']['urban']
    measured = checkpoint.load_info(model).metrics
    assert urban['max_f'] == pytest.approx(measured['max_f'], abs=0.3)  # float16 weights
    assert content['images'] == 6


def test_an_interrupted_run_goes_on_to_the_same_end(kitti_like: Path, tmp_path: Path) -> None:
    options = ('epochs=4', 'validate_every=2', 'augmentation=none', 'dropout=0.0')
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    assert _train(kitti_like, whole, *options) == 0

    class Interrupted(Exception):
        pass

    class StopAfterTwo(train.SaveModel):
        def on_train_epoch_start(self, trainer, module) -> None:
            if trainer.current_epoch == 2:
                raise Interrupted

    original, train.SaveModel = train.SaveModel, StopAfterTwo
    try:
        with pytest.raises(Interrupted):
            _train(kitti_like, parts, *options)
    finally:
        train.SaveModel = original
    assert _train(kitti_like, parts, *options, '--resume') == 0
    with open(parts / 'csv' / 'version_1' / 'metrics.csv', newline='') as file:
        epochs = [int(row['epoch']) for row in csv.DictReader(file) if row['epoch']]
    assert min(epochs) == 2  # not from the start
    ends = [checkpoint.load(out / 'model.safetensors') for out in (whole, parts)]
    assert ends[0][1].metrics['epoch'] == ends[1][1].metrics['epoch']
    assert ends[0][1].metrics['max_f'] == pytest.approx(ends[1][1].metrics['max_f'], abs=3.0)
    assert _train(kitti_like, parts, *options) == 2  # would overwrite the run


def test_without_validation_everything_trains(kitti_like: Path, tmp_path: Path) -> None:
    assert _train(kitti_like, tmp_path, 'epochs=3', 'fold=-1') == 0
    assert (tmp_path / 'checkpoints' / 'last.ckpt').is_file()
    info = checkpoint.load_info(tmp_path / 'model.safetensors')
    assert (info.threshold, info.metrics) == (0.5, {})
    assert '30 images for training' in info.data
    arguments = ['--model', str(tmp_path / 'model.safetensors'), '--data', str(kitti_like)]
    assert evaluate.main([*arguments, '--validation-fold']) == 2


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['epochs=0'], 'epochs must be at least 1'),
        (['--data', '/no/such/folder'], '/no/such/folder/training/image_2 does not exist'),
        (['--config', '/no/such.yaml'], 'cannot read the configuration /no/such.yaml'),
        (['--resume'], '--resume needs .*last.ckpt'),
        (
            ['--backbone', '/no/vgg.safetensors', 'backbone=imagenet_v1'],
            'cannot read the backbone',
        ),
    ],
)
def test_errors_are_one_line(
    kitti_like: Path, tmp_path: Path, capsys, arguments: list[str], words: str
) -> None:
    import re

    recipe = str(CONFIGS / 'compact.yaml')
    options = ['--config', recipe, '--data', str(kitti_like), '--out', str(tmp_path)]
    settings = [a for a in arguments if '=' in a]
    others = [a for a in arguments if '=' not in a]
    assert train.main([*options, *others, *SMALL, *settings]) == 2
    assert re.search(f'error: .*{words}', capsys.readouterr().err)


def test_seed_applies_l2_to_its_new_kernels_alone(kitti_like: Path) -> None:
    settings = config.read(CONFIGS / 'seed.yaml', ['width=0.1', 'backbone=random'])
    optimizer = _optimizer(settings)
    assert type(optimizer) is torch.optim.Adam
    decays = {g['weight_decay']: len(g['params']) for g in optimizer.param_groups}
    assert decays[1e-3] == 6  # three scores, three transposed convolutions
    assert {g['lr'] for g in optimizer.param_groups} == {1e-3}


def test_the_l2_term_is_in_the_gradient() -> None:
    settings = config.read(CONFIGS / 'seed.yaml', ['width=0.1', 'backbone=random'])
    module = train.RoadTraining(train.FCN8(0.1, 'none'), settings)
    before = module.network.score7.weight.detach().clone()
    optimizer = _optimizer(settings, module)
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # no gradient but that of the L2 term: every weight shrinks
    assert (module.network.score7.weight.abs() < before.abs()).all()


def _optimizer(settings: TrainingConfig, module=None) -> torch.optim.Optimizer:
    from types import SimpleNamespace

    module = module or train.RoadTraining(train.FCN8(0.1, 'none'), settings)
    module._trainer = SimpleNamespace(estimated_stepping_batches=10)
    return module.configure_optimizers()['optimizer']


def test_poly_schedule_falls_to_zero() -> None:
    from types import SimpleNamespace

    settings = TrainingConfig(schedule='poly', epochs=10, warmup_epochs=1.0, lr=1.0)
    module = train.RoadTraining(train.FCN8(0.1, 'none'), settings)
    module._trainer = SimpleNamespace(estimated_stepping_batches=100)
    factor = module.configure_optimizers()['lr_scheduler']['scheduler'].lr_lambdas[0]
    assert factor(0) < 0.1
    assert factor(10) == pytest.approx(0.9**0.9)
    assert factor(50) == pytest.approx(0.5**0.9)
    assert factor(100) == 0.0


def test_pixels_that_are_not_scored_do_not_train() -> None:
    module = train.RoadTraining(train.FCN8(0.1, 'none', dropout=0.0), TrainingConfig())
    module.log = lambda *args, **kwargs: None
    images = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    labels = torch.zeros(1, 32, 32, dtype=torch.long)
    labels[:, 16:] = NOT_SCORED
    plain = module.training_step((images, labels), 0)
    with torch.no_grad():
        logits = module(images)[:, :, :16]
    expected = torch.nn.functional.cross_entropy(logits, labels[:, :16])
    torch.testing.assert_close(plain, expected)


def test_every_second_image_of_a_batch_is_mirrored() -> None:
    samples = [(torch.rand(3, 4, 5), torch.randint(0, 2, (4, 5))) for _ in range(5)]
    images, labels = flip_every_second(samples)
    for index, (image, label) in enumerate(samples):
        mirrored = index % 2 == 1
        assert torch.equal(images[index], image.flip(-1) if mirrored else image)
        assert torch.equal(labels[index], label.flip(-1) if mirrored else label)


@pytest.mark.parametrize('name', config.AUGMENTATIONS)
def test_image_and_label_are_augmented_together(name: str) -> None:
    from torchvision import tv_tensors

    torch.manual_seed(0)
    image = np.zeros((3, 375, 1242), np.uint8)
    label = np.zeros((375, 1242), np.uint8)
    image[:, 100:300, 300:700] = 255
    label[100:300, 300:700] = 1
    for _ in range(5):
        pixels, truth = training_transform(name, 160, 576)(
            tv_tensors.Image(image), tv_tensors.Mask(label)
        )
        assert pixels.shape == (3, 160, 576)
        assert truth.shape == (160, 576)
        assert set(truth.unique().tolist()) <= {0, 1, NOT_SCORED}  # no invented labels
        bright = pixels.float().mean(0) > 60
        scored = truth != NOT_SCORED
        assert ((truth == 1) == bright)[scored].float().mean() > 0.98
