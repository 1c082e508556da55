"""Which YAML configs a plan must have built to know that they are sound."""

import pytest
import yaml
from detectron2.config import get_cfg

from ablation.config.schemas import validate_config
from ablation.models import known_keys
from ablation.models.locate import needs_building


def test_the_defaults_are_detectron2s():
    assert known_keys._defaults().dump() == get_cfg().dump()


@pytest.mark.parametrize(
    ("content", "is_needed"),
    [
        ({"MODEL": {"MASK_ON": True}, "SOLVER": {"MAX_ITER": 3}}, False),
        ({"MODEL": {"MASC_ON": True}}, True),
        ({"MODEL": 3}, True),
        ({"OPTIMIZER": "adam"}, True),
        ({"_BASE_": "base.yaml"}, True),
    ],
)
def test_only_a_key_that_is_no_default_of_detectron2_asks_for_the_model(compose, tmp_path, content, is_needed):
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "base.yaml").write_text("MODEL: {NO_SUCH_KEY: 1}")
    keys = ["model.name=own", f"model.config={tmp_path / 'own.yaml'}", "model.weights=''"]
    model = validate_config(compose(*keys)).model
    assert needs_building(model) is is_needed
    assert needs_building(model.model_copy(update={"overrides": {"MODEL": {"MASK_ON": False}}}))
