"""A configuration is read strictly, and the shipped ones say what they should."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from training import config
from training.config import ConfigError

CONFIGS = Path(__file__).parent.parent / 'training' / 'configs'


@pytest.mark.parametrize('path', sorted(CONFIGS.glob('*.yaml')), ids=lambda path: path.stem)
def test_every_shipped_configuration_can_be_read(path: Path) -> None:
    assert config.read(path).epochs > 0


def test_seed_is_the_original_recipe() -> None:
    seed = config.read(CONFIGS / 'seed.yaml')
    expected = {
        'width': 1.0,
        'head': 'fc4096',
        'dropout': 0.5,
        'backbone': 'imagenet_v1',
        'init_std': 0.01,
        'skip_std': 0.01,
        'input_height': 160,
        'input_width': 576,
        'keep_aspect_ratio': False,
        'augmentation': 'flip_every_second',
        'epochs': 50,
        'batch_size': 15,
        'lr': 1e-3,
        'backbone_lr': 1e-3,
        'schedule': 'constant',
        'l2': 1e-3,
        'weight_decay': 0.0,
        'synthetic': 0,
    }
    assert {name: getattr(seed, name) for name in expected} == expected


def test_overrides_have_the_last_word_and_the_right_type() -> None:
    settings = config.read(
        CONFIGS / 'compact.yaml', ['lr=1e-5', 'epochs=3', 'head=none', 'keep_aspect_ratio=false']
    )
    assert (settings.lr, settings.epochs, settings.head) == (1e-5, 3, 'none')
    assert settings.keep_aspect_ratio is False


@pytest.mark.parametrize(
    ('override', 'words'),
    [
        ('epochs', 'an override has the form key=value'),
        ('epoch=3', "there is no setting 'epoch'; there are .*epochs"),
        ('epochs=many', "epochs must be of type int, got 'many'"),
        ('epochs=2.5', 'epochs must be of type int, got 2.5'),
        ('epochs=0', 'epochs must be at least 1, got 0'),
        ('lr=fast', "lr must be of type float, got 'fast'"),
        ('lr=true', 'lr must be of type float, got True'),
        ('augmentation=wild', "augmentation must be one of none, .*, got 'wild'"),
        ('schedule=cosine', 'schedule must be one of constant, poly'),
        ('backbone=resnet', 'backbone must be one of'),
        ('head=fc7', "head must be one of fc4096, fc1024, none, got 'fc7'"),
        ('width=0', 'width must be above 0 and at most 4, got 0.0'),
        ('precision=fast', "precision must be one of 32-true, .*, got 'fast'"),
        ('workers=-2', 'workers must be from -1 to 256, got -2'),
        ('workers=1000', 'workers must be from -1 to 256, got 1000'),
        ('dropout=1', 'dropout must be in .* got 1.0'),
        ('lr=[', "'lr=.' cannot be read"),
        ('folds=5 epochs=10 validate_every=3', 'multiple of validate_every, .* got 10 and 3'),
        ('folds=5 fold=5', 'fold in .* got 5 and 5'),
        ('folds=1', 'folds must be 0 or at least 2'),
        ('l2=1e-3', 'exclude each other'),
        ('loss=hinge', "loss must be one of softmax, sigmoid, got 'hinge'"),
        ('ema=1', 'ema must be in .* got 1.0'),
        ('imitation=2', 'imitation must be in .* got 2.0'),
        ('temperature=0', 'temperature must be above 0'),
        ('lovasz=.nan', 'lovasz must be finite, got nan'),
        ('lr=.inf', 'lr must be finite, got inf'),
        ('seed=4294967296', r'seed must be from 0 to 2\*\*32 - 1, got 4294967296'),
        ('crop=0', 'crop must be above 0 and at most 1'),
        ('frozen_blocks=6', 'frozen_blocks must be from 0 to 5, got 6'),
        ('checkpoint_every=0', 'checkpoint_every must be at least 1'),
        ('augmentation=roads many_shapes=false', 'augmentation roads needs many_shapes'),
        ('augmentation=flip', 'many_shapes and crop need augmentation camera, weather, roads'),
    ],
)
def test_a_bad_setting_is_named(override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config.read(CONFIGS / 'compact.yaml', override.split())


def test_a_file_that_is_no_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='cannot read the configuration .*none.yaml'):
        config.read(tmp_path / 'none.yaml')
    for content in ('- 1', '', '# epochs: 2', 'false'):
        (tmp_path / 'other.yaml').write_text(content)
        with pytest.raises(ConfigError, match='must hold `key: value` lines'):
            config.read(tmp_path / 'other.yaml')
    (tmp_path / 'broken.yaml').write_text('a: [')
    with pytest.raises(ConfigError, match='cannot read the configuration'):
        config.read(tmp_path / 'broken.yaml')
    (tmp_path / 'twice.yaml').write_text('epochs: 2\nlr: 1e-3\nepochs: 3\n')
    with pytest.raises(ConfigError, match='twice.yaml: epochs is there 2 times'):
        config.read(tmp_path / 'twice.yaml')
    for bad in ('lr: 2001-13-45', '!!float x: 1', '!!map [1]', '? [a]\n: 1', '!!bool q: 1'):
        (tmp_path / 'odd.yaml').write_text(bad)
        with pytest.raises(ConfigError, match='cannot read the configuration .*odd.yaml'):
            config.read(tmp_path / 'odd.yaml')
    (tmp_path / 'merged.yaml').write_text('<<: {epochs: 2, lr: 1e-3}\nepochs: 3\n')
    settings = config.read(tmp_path / 'merged.yaml')
    assert (settings.epochs, settings.lr) == (3, 1e-3)


@pytest.mark.parametrize(
    ('share', 'epochs', 'parts'),
    [
        (0, 100, [100]),
        (0.2, 100, [80, 20]),
        (0.2, 2, [2]),
        (0.2, 3, [2, 1]),
        (0.9, 2, [1, 1]),
        (0.999, 1, [1]),
    ],
)
def test_the_last_epochs_fine_tune(share: float, epochs: int, parts: list[int]) -> None:
    settings = config.read(CONFIGS / 'kitti.yaml', [f'fine_tuning={share}', f'epochs={epochs}'])
    assert [stage.epochs for stage in settings.stages] == parts
    assert sum(parts) == epochs


def test_only_fine_tuning_leaves_variety_out() -> None:
    overrides = ['epochs=18', 'validate_every=6', 'fine_tuning=0.2', 'folds=5']
    settings = config.read(CONFIGS / 'kitti.yaml', overrides)
    before, after = settings.stages
    names = ('epochs', 'synthetic', 'many_shapes', 'augmentation', 'validate_every')
    assert [getattr(before, name) for name in names] == [14, 96, True, 'roads', 2]
    assert [getattr(after, name) for name in names] == [4, 0, False, 'weather', 2]
    assert (after.lr, after.input_size) == (settings.lr, settings.input_size)
    camera = config.read(CONFIGS / 'kitti.yaml', [*overrides, 'augmentation=camera'])
    assert camera.stages[1].augmentation == 'camera'


def test_a_run_of_before_a_setting_existed_had_its_default() -> None:
    settings = config.read(CONFIGS / 'seed.yaml')
    before = dataclasses.asdict(settings)
    del before['fine_tuning'], before['epochs']
    settings.require_same_as({**before, 'epochs': 50, 'workers': 3})
    changed = dataclasses.replace(settings, fine_tuning=0.5)
    with pytest.raises(ConfigError, match='fine_tuning was 0.0 and is 0.5 now'):
        changed.require_same_as(before)
