"""What training minimises. Every loss is a mean per image first, then over the batch."""

from __future__ import annotations

import torch
from torch.nn import functional

from road_seg_ros.metrics import NOT_ROAD, NOT_SCORED, ROAD


def log_odds(logits: torch.Tensor) -> torch.Tensor:
    """Return the log odds of road, (N, H, W), of two-class logits (N, 2, H, W)."""
    return logits[:, 1] - logits[:, 0]


def cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """Softmax cross entropy. logits: (N, 2, H, W); labels, weight: (N, H, W). Returns (N,)."""
    loss = functional.cross_entropy(logits, labels, ignore_index=NOT_SCORED, reduction='none')
    return _mean(loss, weight)


def sigmoid_per_class(
    logits: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """Binary cross entropy of each class's own logit, as KittiSeg's `sigmoid` loss. (N,)."""
    truth = (labels == ROAD).to(logits.dtype)
    truth = torch.stack([1 - truth, truth], 1)  # (N, 2, H, W)
    loss = functional.binary_cross_entropy_with_logits(logits, truth, reduction='none').mean(1)
    return _mean(loss, weight)


def imitation(
    logits: torch.Tensor, teacher: torch.Tensor, weight: torch.Tensor, temperature: float
) -> torch.Tensor:
    """
    Cross entropy against a teacher's softened road probability, times temperature squared. (N,).

    Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network", 2015. The entropy of
    the teacher is subtracted, so that a perfect imitation costs 0. teacher: log odds, (N, H, W).
    """
    student, teacher = log_odds(logits) / temperature, teacher / temperature
    target = torch.sigmoid(teacher)
    loss = functional.binary_cross_entropy_with_logits(student, target, reduction='none')
    entropy = functional.binary_cross_entropy_with_logits(teacher, target, reduction='none')
    return temperature**2 * _mean(loss - entropy, weight)


def lovasz_hinge(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """
    Return the Lovasz extension of the road's Jaccard loss, (N,).

    Berman, Rannen Triki & Blaschko, "The Lovasz-Softmax loss", CVPR 2018, algorithm 1 and
    equation 11. logits: (N, 2, H, W); labels: (N, H, W).
    """
    losses = []
    for scores, label in zip(log_odds(logits), labels, strict=True):
        scored = label != NOT_SCORED
        truth = (label[scored] == ROAD).to(scores.dtype)
        errors, order = (1 - scores[scored] * (2 * truth - 1)).sort(descending=True)
        truth = truth[order]
        intersection = truth.sum() - truth.cumsum(0)
        union = truth.sum() + (1 - truth).cumsum(0)
        jaccard = 1 - intersection / union.clamp_min(1)
        gradient = torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
        losses.append((functional.relu(errors) * gradient).sum())
    return torch.stack(losses)


def pixel_weight(labels: torch.Tensor, boundary: float, radius: int = 4) -> torch.Tensor:
    """
    Return 1, or 1 + boundary within `radius` px of both road and not road; 0 where not scored.

    labels: (N, H, W). Returns float32 (N, H, W).
    """
    weight = (labels != NOT_SCORED).float()
    if not boundary:
        return weight
    near = [
        functional.max_pool2d((labels == kind).float()[:, None], 2 * radius + 1, 1, radius)
        for kind in (ROAD, NOT_ROAD)
    ]
    return weight * (1 + boundary * (near[0] * near[1])[:, 0])


# By the name that the configuration gives them.
SUPERVISED = {'softmax': cross_entropy, 'sigmoid': sigmoid_per_class}


def _mean(loss: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return (loss * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1)
