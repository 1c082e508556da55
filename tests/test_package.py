"""What `import ablation` gives to a notebook."""

import subprocess
import sys

import pytest
from sweep_factory import make_sweep

import ablation
from ablation import load_sweep


def test_a_notebook_loads_a_sweep_as_frames(tmp_path):
    sweep = load_sweep(make_sweep(tmp_path / "s", {"noise.sigma": [0, 0.1]}).folder)
    assert sweep.runs["segm/AP"].notna().all()


def test_the_import_alone_loads_nothing():
    code = "import sys, ablation; print({'pandas', 'numpy', 'torch'} & set(sys.modules), ablation.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["set()", ablation.__version__]


def test_what_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing"):
        _ = ablation.nothing
