"""Pretrained features land in the right layers, and the rest starts as configured."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import VGG16_Weights, vgg16

from road_seg_ros.fcn8 import FCN8
from training.backbone import DOWNLOADS, BackboneError, load_vgg16, start_weights

SHARED_WEIGHTS = Path(__file__).parents[2] / 'shared/weights/vgg16_imagenet_features.safetensors'


@pytest.fixture(scope='module')
def features() -> dict[str, torch.Tensor]:
    """Return random weights with the keys and shapes of torchvision's VGG-16 features."""
    torch.manual_seed(0)
    state = vgg16().features.state_dict()
    return {f'features.{name}': tensor for name, tensor in state.items()}


def test_full_width_features_compute_what_torchvision_computes(features) -> None:
    theirs = vgg16().features.eval()
    theirs.load_state_dict({k.removeprefix('features.'): v for k, v in features.items()})
    ours = FCN8(width=1.0, head='none')
    load_vgg16(ours, features)
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        torch.testing.assert_close(ours.features(image), theirs(image))


def test_layers_6_and_7_come_from_the_classifier(features) -> None:
    weights = dict(features)
    weights['classifier.0.weight'] = torch.randn(4096, 512 * 7 * 7) * 0.01
    weights['classifier.0.bias'] = torch.randn(4096)
    weights['classifier.3.weight'] = torch.randn(4096, 4096) * 0.01
    weights['classifier.3.bias'] = torch.randn(4096)
    network = FCN8(width=1.0, head='fc4096').eval()
    load_vgg16(network, weights)
    pool5 = torch.randn(1, 512, 7, 7)
    with torch.inference_mode():
        layer6 = torch.relu(pool5.flatten(1) @ weights['classifier.0.weight'].T
                            + weights['classifier.0.bias'])  # fmt: skip
        layer7 = torch.relu(layer6 @ weights['classifier.3.weight'].T
                            + weights['classifier.3.bias'])  # fmt: skip
        ours = network.head(pool5)[0, :, 3, 3]  # the centre sees all 7x7
    torch.testing.assert_close(ours, layer7[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('kind', DOWNLOADS)
def test_what_is_downloaded_exists_and_is_used(
    features, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = dict(features)
    filling = 1.0 if kind == 'imagenet_v1' else torch.nan  # as in torchvision's files
    for index, inputs in ((0, 512 * 7 * 7), (3, 4096)):
        weights[f'classifier.{index}.weight'] = torch.tensor(filling).expand(4096, inputs)
        weights[f'classifier.{index}.bias'] = torch.tensor(filling).expand(4096)
    asked = []

    def download(self: VGG16_Weights, **_: object) -> dict[str, torch.Tensor]:
        asked.append(self)
        return weights

    monkeypatch.setattr(VGG16_Weights, 'get_state_dict', download)
    network = FCN8(width=1.0, head='fc4096')
    start_weights(network, kind, None, init_std=0.0, skip_std=0.0)
    assert asked == [VGG16_Weights[DOWNLOADS[kind]]]
    torch.testing.assert_close(network.features[0].weight.data, features['features.0.weight'])
    expected = 1.0 if kind == 'imagenet_v1' else 0.0
    assert {network.head[i].weight.unique().item() for i in (0, 3)} == {expected}


def test_a_narrow_network_takes_the_strongest_filters(features) -> None:
    network = FCN8(width=0.5, head='none')
    load_vgg16(network, features)
    first = features['features.0.weight']
    strongest = first.flatten(1).norm(dim=1).argsort(descending=True)[:32].sort().values
    torch.testing.assert_close(network.features[0].weight.data, first[strongest])
    second = features['features.2.weight']
    kept = second.flatten(1).norm(dim=1).argsort(descending=True)[:32].sort().values
    ours = network.features[2].weight.data
    ratio = ours / second[kept][:, strongest]
    # Each filter keeps its direction among the inputs that are left, and its norm.
    torch.testing.assert_close(ratio, ratio[:, :1, :1, :1].expand_as(ratio))
    norms = second[kept].flatten(1).norm(dim=1)
    torch.testing.assert_close(ours.flatten(1).norm(dim=1), norms)


def test_new_layers_start_normal_with_the_configured_deviation() -> None:
    torch.manual_seed(0)
    network = FCN8(width=1.0, head='fc1024')
    start_weights(network, 'random', None, init_std=0.01, skip_std=1e-4)
    assert network.head[0].weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert network.score7.weight.std().item() == pytest.approx(0.01, rel=0.1)
    for skip in (network.score4, network.score3):
        assert skip.weight.std().item() == pytest.approx(1e-4, rel=0.1)
    for layer in (network.head[0], network.score7, network.score4):
        assert not layer.bias.any()
    deviation = (2 / (9 * 512)) ** 0.5  # He et al., 2015
    assert network.features[28].weight.std().item() == pytest.approx(deviation, rel=0.05)


def test_a_local_file_is_read(features, tmp_path: Path) -> None:
    save_file({k: v.contiguous() for k, v in features.items()}, tmp_path / 'vgg.safetensors')
    network = FCN8(width=1.0, head='none')
    start_weights(network, 'imagenet_features', tmp_path / 'vgg.safetensors', 0.01, 0.01)
    torch.testing.assert_close(network.features[28].weight.data, features['features.28.weight'])


def test_imagenet_features_see_edges() -> None:
    if not SHARED_WEIGHTS.is_file():
        pytest.skip(f'the ImageNet features are not at {SHARED_WEIGHTS}')
    network = FCN8(width=1.0, head='none')
    start_weights(network, 'imagenet_features', SHARED_WEIGHTS, 0.01, 0.01)
    convolutions = [m for m in network.features if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 13
    edge = torch.zeros(1, 3, 32, 32)
    edge[..., 16:] = 100.0
    with torch.inference_mode():
        response = network.features[0](edge).amax(dim=(0, 2, 3)) - network.features[0].bias
    assert response.max() > 50


@pytest.mark.parametrize(
    ('spoil', 'words'),
    [
        (lambda w: w.pop('features.5.weight'), "lack 'features.5.weight'"),
        (lambda w: w.pop('features.28.bias'), "lack 'features.28.bias'"),
        (lambda w: w.update({'features.0.weight': torch.zeros(64)}), 'features.0 .* has shape'),
        (
            lambda w: w.update({'features.2.weight': torch.zeros(8, 8, 3, 3),
                                'features.2.bias': torch.zeros(8)}),
            r'features.2.weight has shape \(8, 8, 3, 3\)',
        ),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_are_named(features, spoil, words: str) -> None:
    weights = dict(features)
    spoil(weights)
    with pytest.raises(BackboneError, match=words):
        load_vgg16(FCN8(width=1.0, head='none'), weights)


def test_features_alone_are_not_imagenet_v1(features, tmp_path: Path) -> None:
    save_file({k: v.contiguous() for k, v in features.items()}, tmp_path / 'vgg.safetensors')
    with pytest.raises(BackboneError, match='set backbone=imagenet_features'):
        start_weights(
            FCN8(width=0.1, head='none'), 'imagenet_v1', tmp_path / 'vgg.safetensors', 0.01, 0.01
        )


def test_a_file_that_is_no_safetensors_is_named(tmp_path: Path) -> None:
    path = tmp_path / 'vgg.safetensors'
    path.write_text('hello')
    with pytest.raises(BackboneError, match='cannot read the backbone .*vgg.safetensors'):
        start_weights(FCN8(width=0.1, head='none'), 'imagenet_features', path, 0.01, 0.01)


def test_noise_takes_no_file(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match='backbone=random starts from noise, not from .*vgg'):
        start_weights(FCN8(0.05), 'random', tmp_path / 'vgg', init_std=0.01, skip_std=1e-4)
