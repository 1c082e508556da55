"""A cell's configuration gives the command that asks for this very run again."""

import shlex

import pytest
from omegaconf import OmegaConf

from ablation.data.build import build_dataset
from ablation.records.overrides import hydra_value
from ablation.report.loading.rerun import rerun_command
from ablation.sweep.identity import identify
from ablation.sweep.make_plan import make_plan

COMMANDS = [
    ("noise=uniform", "noise.sigma=0.1155", "seed=3"),
    ("noise=dropblock", "noise.sigma=0.5", "noise.levels=[p2,p3]", "noise.when=always"),
    ("noise=dropout", "noise.sigma=null", "noise.params.p=0.1"),
    ("+model.overrides.MODEL.RPN.IOU_LABELS=[0,-1,1]", "schedule.lr=0.001", "evaluation.noise_grid.sigmas=[0,0.5]"),
    ("experiment=dropblock_warmup", "schedule.iterations=7"),
]


@pytest.mark.parametrize("overrides", COMMANDS)
def test_the_command_asks_for_the_same_run(requested_cells, micro, overrides):
    cells = make_plan(requested_cells(*micro, *overrides)).cells
    assert cells
    for one in cells:
        words = shlex.split(rerun_command(one.cell, "other"))
        assert words[:3] == ["python", "-m", "ablation.run"]
        (again,) = make_plan(requested_cells(*words[3:])).cells
        assert again.cell.run_id == one.cell.run_id
        dataset = build_dataset(one.config.dataset)
        assert identify(again.config, dataset) == identify(one.config, dataset)


@pytest.mark.parametrize(
    "value",
    [None, True, 1, 0.1, 1e-9, "p2", "true", "null", "", "a b", "it's", "back\\", "{x}", "a=b,c", "1", [1, "p2"]],
)
def test_values_keep_their_type_through_hydras_grammar(requested_cells, micro, value):
    (one,) = requested_cells(*micro, f"+model.overrides.X={hydra_value(value)}")
    assert OmegaConf.create(one.composed)["model"]["overrides"]["X"] == value
