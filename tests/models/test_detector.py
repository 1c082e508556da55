"""Gradient clipping has detectron2's bits and leaves nothing in the optimiser's state."""

import copy

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.solver import build_optimizer
from torch import nn

from ablation.models.detector import with_gradient_clipping


def _trained(optimizer, model, steps=3):
    torch.manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        (100 * model(torch.randn(4, 5)).square().sum()).backward()
        optimizer.step()
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize("norm_type", [2.0, 1.0])
def test_clipping_is_detectron2s_bit_for_bit(norm_type):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 2))
    cfg = get_cfg()
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = "norm"
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = 0.5
    cfg.SOLVER.CLIP_GRADIENTS.NORM_TYPE = norm_type
    results = []
    for enabled in (True, False):
        own = copy.deepcopy(model)
        cfg.SOLVER.CLIP_GRADIENTS.ENABLED = enabled
        optimizer = build_optimizer(cfg, own)
        results.append(_trained(optimizer if enabled else with_gradient_clipping(optimizer, 0.5, norm_type), own))
    assert all(torch.equal(theirs, ours) for theirs, ours in zip(*results, strict=True))


def test_the_state_is_that_of_the_optimizer_without_clipping():
    model = nn.Linear(5, 3)
    plain = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    clipped = with_gradient_clipping(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), 1.0)
    assert type(clipped) is torch.optim.SGD
    assert clipped.state_dict().keys() == plain.state_dict().keys()
