"""The network has the original's wiring at any size."""

from __future__ import annotations

import pytest
import torch

from road_seg_ros.fcn8 import FCN8, start_bilinear


@pytest.mark.parametrize('size', [(160, 576), (1, 1), (33, 31), (47, 65), (94, 310), (375, 1242)])
def test_scores_have_the_size_of_the_image(size: tuple[int, int]) -> None:
    network = FCN8(width=0.05, head='none').eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, *size)).shape == (2, 2, *size)


def test_full_width_network_has_the_parameters_of_the_original() -> None:
    # 13 convolutions of VGG-16, layers 6 and 7 as convolutions, three 1x1 scores, three
    # transposed convolutions; each with its bias.
    features = 14_714_688
    layers_6_and_7 = 7 * 7 * 512 * 4096 + 4096 + 4096 * 4096 + 4096
    scores = 2 * (4096 + 512 + 256 + 3)
    upsampling = 2 * 2 * (4 * 4 + 4 * 4 + 16 * 16) + 3 * 2
    with torch.device('meta'):
        network = FCN8(width=1.0, head='fc4096')
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == features + layers_6_and_7 + scores + upsampling == 134_271_436


def test_features_are_torchvision_vgg16() -> None:
    from torchvision.models import vgg16

    with torch.device('meta'):
        theirs = vgg16().features.state_dict()
        ours = FCN8(width=1.0, head='none').features.state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


def test_skips_join_at_strides_16_and_8() -> None:
    network = FCN8(width=0.05, head='fc1024').eval()
    shapes = {}
    for name in ('score7', 'score4', 'score3'):
        layer = getattr(network, name)
        layer.register_forward_hook(lambda _, __, out, name=name: shapes.update({name: out.shape}))
    with torch.inference_mode():
        network(torch.zeros(1, 3, 160, 576))
    assert shapes['score7'][2:] == (5, 18)
    assert shapes['score4'][2:] == (10, 36)
    assert shapes['score3'][2:] == (20, 72)


def test_each_skip_reaches_the_scores() -> None:
    torch.manual_seed(0)
    network = FCN8(width=0.05, head='none').eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        before = network(image)
        for name in ('score7', 'score4', 'score3'):
            getattr(network, name).bias += 1.0
            after = network(image)
            assert (after - before).abs().max() > 0.5, name
            before = after


@pytest.mark.parametrize(('kernel', 'stride'), [(4, 2), (16, 8)])
def test_transposed_convolutions_start_bilinear(kernel: int, stride: int) -> None:
    layer = torch.nn.ConvTranspose2d(2, 2, kernel, stride=stride, padding=stride // 2)
    start_bilinear(layer)
    score = torch.randn(1, 2, 9, 11)
    with torch.inference_mode():
        ours = layer(score)
        theirs = torch.nn.functional.interpolate(score, scale_factor=stride, mode='bilinear')
    inside = (..., slice(stride, -stride), slice(stride, -stride))  # they treat borders otherwise
    torch.testing.assert_close(ours[inside], theirs[inside])


def test_scores_are_float32_under_autocast() -> None:
    network = FCN8(width=0.05, head='fc1024').eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        with torch.autocast('cpu', torch.bfloat16):
            mixed = network(image)
        full = network(image)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, full, rtol=0.05, atol=0.05)


def test_architecture_builds_the_same_network_again() -> None:
    network = FCN8(width=0.1, head='fc1024', classes=3)
    again = FCN8(**network.architecture)
    assert {k: v.shape for k, v in network.state_dict().items()} == {
        k: v.shape for k, v in again.state_dict().items()
    }
