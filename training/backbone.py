"""
What the network starts from.

VGG-16's features from ImageNet and everything else from small noise, or a ready model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from road_seg_ros import checkpoint
from road_seg_ros.checkpoint import Normalization
from road_seg_ros.fcn8 import FCN8

# torchvision's own, for most of its weights.
IMAGENET = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
# What each kind of pretrained weights expects of its images.
NORMALIZATIONS = {
    'imagenet_features': Normalization(),  # RGB * 255 - mean, as the original Caffe weights
    'imagenet_v1': IMAGENET,
    'random': IMAGENET,
}
# The names that torchvision knows them by.
DOWNLOADS = {'imagenet_features': 'IMAGENET1K_FEATURES', 'imagenet_v1': 'IMAGENET1K_V1'}
# torchvision's fully connected layers 6 and 7, and our convolutions.
FULLY_CONNECTED = {'classifier.0': 'head.0', 'classifier.3': 'head.3'}


class BackboneError(ValueError):
    """Pretrained weights that cannot be read or do not fit; says why."""


def start_weights(
    network: FCN8, kind: str, file: str | Path | None, init_std: float, skip_std: float
) -> None:
    """
    Give every layer the weights that training starts from. Draws from torch's global generator.

    kind: a key of NORMALIZATIONS. file: a .safetensors file with torchvision's key names, or None
    to let torchvision download the weights. init_std: normal deviation of layers 6 and 7 and of
    the layer 7 score; skip_std: of the pool4 and pool3 scores. BackboneError if that cannot be.
    """
    for layer in network.features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity='relu')
            nn.init.zeros_(layer.bias)
    for layer in [*network.head.modules(), network.score7, network.score4, network.score3]:
        if isinstance(layer, nn.Conv2d):
            skip = layer in (network.score4, network.score3)
            nn.init.normal_(layer.weight, std=skip_std if skip else init_std)
            nn.init.zeros_(layer.bias)
    if kind == 'random':
        if file:
            raise BackboneError(f'backbone=random starts from noise, not from {file}')
        return
    weights = _read(file) if file else _download(kind)
    if kind == 'imagenet_v1' and 'classifier.0.weight' not in weights:
        raise BackboneError(
            'the pretrained weights have no layers 6 and 7 (classifier.0.weight), so they are not '
            'imagenet_v1; for the features alone set backbone=imagenet_features'
        )
    if kind == 'imagenet_features':  # torchvision's file has NaN for the other layers
        weights = {n: weight for n, weight in weights.items() if n.startswith('features.')}
    load_vgg16(network, weights)


def go_on_from(network: FCN8, kind: str, model_path: str) -> None:
    """
    Give every layer the weights of a ready model.

    kind: a key of NORMALIZATIONS; the model must have seen its images so. model_path: as for
    `checkpoint.find`. BackboneError if the model is another network; CheckpointError if it cannot
    be read.
    """
    ready, info = checkpoint.load(model_path)
    if ready.architecture != network.architecture or info.normalization != NORMALIZATIONS[kind]:
        raise BackboneError(
            f'{checkpoint.find(model_path)} is {ready.architecture} with {info.normalization}; '
            f'the settings ask for {network.architecture} with {NORMALIZATIONS[kind]}'
        )
    network.load_state_dict(ready.state_dict())


@torch.no_grad()
def load_vgg16(network: FCN8, weights: Mapping[str, torch.Tensor]) -> None:
    """
    Copy VGG-16 weights with torchvision's key names into the network.

    A narrower network takes the filters with the largest norm of each layer. `classifier.*`, where
    present, fills layers 6 and 7 of a full-width fc4096 head. BackboneError on a missing key or a
    shape that is not VGG-16's.
    """
    kept = torch.arange(3)  # of the layer before: which of VGG-16's channels ours are
    for index, layer in enumerate(network.features):
        if not isinstance(layer, nn.Conv2d):
            continue
        kernel, bias = _take(weights, f'features.{index}', dimensions=4)
        if kernel.shape[1] <= int(kept.max()) or kernel.shape[0] < layer.out_channels:
            raise BackboneError(
                f'features.{index}.weight has shape {tuple(kernel.shape)}; a layer of '
                f'{layer.out_channels} channels cannot be taken from it'
            )
        full_norm = kernel.flatten(1).norm(dim=1)
        strongest = full_norm.argsort(descending=True)[: layer.out_channels].sort().values
        taken = kernel[strongest][:, kept]
        # Fewer inputs, same norm: activations stay about as large as the next layer expects.
        gain = full_norm[strongest] / taken.flatten(1).norm(dim=1).clamp_min(1e-12)
        layer.weight.copy_(taken * gain[:, None, None, None])
        layer.bias.copy_(bias[strongest])
        kept = strongest
    is_original = network.architecture['head'] == 'fc4096' and network.architecture['width'] == 1
    if is_original and 'classifier.0.weight' in weights:
        for theirs, ours in FULLY_CONNECTED.items():
            kernel, bias = _take(weights, theirs, dimensions=2)
            layer = network.get_submodule(ours)
            layer.weight.copy_(kernel.reshape(layer.weight.shape))
            layer.bias.copy_(bias)


def _take(
    weights: Mapping[str, torch.Tensor], name: str, dimensions: int
) -> tuple[torch.Tensor, torch.Tensor]:
    try:
        kernel, bias = weights[f'{name}.weight'].float(), weights[f'{name}.bias'].float()
    except KeyError as error:
        raise BackboneError(
            f'the pretrained weights lack {error}; they need the key names of torchvision VGG-16'
        ) from error
    if kernel.ndim != dimensions or bias.shape != kernel.shape[:1]:
        raise BackboneError(f'{name} of the pretrained weights has shape {tuple(kernel.shape)}')
    return kernel, bias


def _read(file: str | Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise BackboneError(f'cannot read the backbone {file}: {error}') from error


def _download(kind: str) -> Mapping[str, torch.Tensor]:
    from torchvision.models import VGG16_Weights

    try:
        return VGG16_Weights[DOWNLOADS[kind]].get_state_dict(progress=True)
    except OSError as error:
        raise BackboneError(
            f'torchvision could not download {kind}: {error}; give --backbone FILE with '
            "torchvision's VGG-16 weights as .safetensors"
        ) from error
