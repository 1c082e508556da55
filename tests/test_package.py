"""What an installed package holds, and what `import ablation` gives to a notebook."""

import os
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from conftest import ROOT
from sweep_factory import make_sweep

import ablation
from ablation import load_sweep


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the content of the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as content:
        content.extractall(folder / "site-packages")
    return folder / "site-packages"


def test_the_pinned_detectron2_has_no_operators_that_were_built_for_another_torch():
    for pinned in metadata.distributions(name="sal-detectron2"):
        assert list(Path(str(pinned.locate_file("detectron2"))).glob("_C.*")) == []


def test_the_wheel_holds_every_module_configuration_and_file_that_the_code_reads(installed):
    tracked = [*(ROOT / "ablation").rglob("*"), *(ROOT / "hydra_plugins").rglob("*")]
    expected = {path.relative_to(ROOT).as_posix() for path in tracked if path.is_file() and path.suffix != ".pyc"}
    expected |= {f"ablation/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert {"ablation/py.typed", "ablation/models/zoo/tiny_mask_rcnn.safetensors"} <= expected
    found = {path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()}
    assert {name for name in found if ".dist-info/" not in name} == expected


def test_an_installed_package_finds_its_configuration_and_its_plugins(installed, tmp_path):
    command = [sys.executable, "-m", "ablation.run", "--info", "all"]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert f"file://{installed}/ablation/conf" in done.stdout
    assert {"AblationSweeper", "PoolLauncher"} <= set(done.stdout.split())


def test_a_notebook_loads_a_sweep_as_frames(tmp_path):
    sweep = load_sweep(make_sweep(tmp_path / "s", {"noise.sigma": [0, 0.1]}).folder)
    assert sweep.runs["segm/AP"].notna().all()


def test_the_import_alone_loads_nothing():
    code = "import sys, ablation; print({'pandas', 'numpy', 'torch'} & set(sys.modules), ablation.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["set()", ablation.__version__]


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing"):
        _ = ablation.nothing
