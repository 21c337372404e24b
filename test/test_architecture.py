"""What is calculated without PyTorch is what the network has and does."""

from __future__ import annotations

import pytest
import torch

from road_seg_ros.architecture import HEADS, Architecture, by_place
from road_seg_ros.fcn8 import FCN8


@pytest.mark.parametrize('head', HEADS)
@pytest.mark.parametrize(('width', 'classes'), [(1.0, 2), (0.5, 2), (0.3, 5), (0.001, 2)])
def test_weight_shapes_are_those_of_the_network(width: float, head: str, classes: int) -> None:
    with torch.device('meta'):
        weights = FCN8(width, head, classes).state_dict()
    shapes = Architecture(width, head, classes).weight_shapes()
    assert shapes == {name: tuple(weight.shape) for name, weight in weights.items()}
    assert list(shapes) == list(weights)


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ({'width': 0.0}, 'width must be above 0'),
        ({'width': 4.1}, 'at most 4, got 4.1'),
        ({'width': float('nan')}, 'width must be above 0'),
        ({'head': 'fc8'}, "head must be one of fc4096, fc1024, none, got 'fc8'"),
        ({'classes': 1}, 'classes must be at least 2, got 1'),
    ],
)
def test_what_cannot_be_built_is_named(arguments: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Architecture(**arguments)
    with pytest.raises(ValueError, match=words):
        FCN8(**arguments)


def test_the_last_upsampling_is_a_convolution_for_each_place() -> None:
    torch.manual_seed(0)
    layer = torch.nn.ConvTranspose2d(2, 2, 16, stride=8, padding=4, bias=False)
    scores = torch.randn(1, 2, 5, 7)
    kernel = torch.from_numpy(by_place(layer.weight.detach().numpy()))
    places = torch.nn.functional.conv2d(scores, kernel, padding=1)
    with torch.no_grad():
        expected = layer(scores)
    difference = expected[:, 1:] - expected[:, :1]
    torch.testing.assert_close(
        torch.nn.functional.pixel_shuffle(places, 8), difference, atol=1e-5, rtol=1e-5
    )
