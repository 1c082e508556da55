"""The report is built where nothing that trains is installed."""

import os
import subprocess
import sys

from sweep_factory import make_sweep

# The packages of the half that trains, and Hydra, which composes its configuration.
ABSENT = (
    *("torch", "torchvision", "detectron2", "fvcore", "iopath", "pycocotools", "cv2", "timm", "safetensors"),
    *("hydra", "omegaconf", "pydantic", "cloudpickle"),
)


def test_the_command_works_without_torch_detectron2_hydra_and_pycocotools(tmp_path):
    # Python runs sitecustomize at each start, so processes that the report starts cannot import them either.
    blocker = f"import sys\nsys.modules.update(dict.fromkeys({ABSENT!r}))\n"
    (tmp_path / "sitecustomize.py").write_text(blocker)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    blocked = subprocess.run([sys.executable, "-c", "import torch"], env=environment, capture_output=True, check=False)
    assert b"ModuleNotFoundError" in blocked.stderr
    sweep = make_sweep(tmp_path / "sweep", {"noise.sigma": [0, 0.5], "seed": range(6)}, is_full=True)
    command = [sys.executable, "-m", "ablation.report", str(sweep.folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (sweep.report / "index.html").stat().st_size > 100_000
    assert list(sweep.folder.rglob("events.out.tfevents.*"))
