"""Errors of the command line are reported in one message, before any training starts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ablation.processes import launch
from ablation.records.failure import Failure

ROOT = Path(__file__).parents[1]


def _coco(folder, **changes):
    files = {"train_json": folder / "train.json", "test_json": folder / "test.json"}
    files |= {"train_images": folder / "images", "test_images": folder / "images"}
    return [f"dataset.{key}={changes.get(key, path)}" for key, path in files.items()]


NOISE_OPTIONS = (
    "Available: channel_dropout, channel_stats, dropblock, dropout, dsu, gaussian, mixstyle, none, quantization, "
    "saliency_dropout, speckle, uniform."
)
EXPERIMENT_OPTIONS = (
    "Available: cct_f_drop, cct_f_noise, deepmirror, dropblock_warmup, dsu, mixstyle, normalization_perturbation, "
    "unimatch."
)
SYNTAX = (
    "Write key=value, or key=a,b,c to sweep; quote the whole word for the shell when it holds brackets or spaces: "
    "'noise.levels=[p2,p3]'."
)
ZOO_NAME = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml"

BAD = {
    # keys
    "nois.sigma=0.1": "nois is not a key. Did you mean noise?",
    "noise.sigm=0.1": "noise.sigm is not a key. Did you mean noise.sigma?",
    "noise.sigm=0.1,0.2": "noise.sigm is not a key. Did you mean noise.sigma?",
    "sigma=0.1": "sigma is not a key. Did you mean noise.sigma?",
    "seeds=1": "seeds is not a key. Did you mean seed?",
    "foo=1": "foo is not a key. Allowed: seed, noise, model, dataset, schedule, evaluation, sweep.",
    "+foo=1": "foo is not a key. Allowed: model, dataset, noise, schedule, evaluation, sweep, seed.",
    "noise.params.p=0.1": (
        "noise.params.p is not a parameter of this noise type. It has none. Choose the type with noise=..."
    ),
    "noise=uniform noise.params.width=0.1": (
        "noise.params.width is not a parameter of this noise type. It has: noise.params.half_width. Choose the type "
        "with noise=..."
    ),
    "model.overrides.MODEL.MASK_ON=false": (
        "model.overrides.MODEL is not set yet. To add a key of the detectron2 config write +model.overrides.MODEL=..."
    ),
    "~seed": "seed is missing. Add to the command: +seed=...",
    # options of groups
    "noise=gausian": f"noise=gausian is not an option. {NOISE_OPTIONS} Did you mean noise=gaussian?",
    "noise=gaussian,xyz": f"noise=xyz is not an option. {NOISE_OPTIONS}",
    "experiment=deepmiror": (
        f"experiment=deepmiror is not an option. {EXPERIMENT_OPTIONS} Did you mean experiment=deepmirror?"
    ),
    "hydra/launcher=pol": (
        "hydra/launcher=pol is not an option. Available: basic, pool, pool_schema. Did you mean hydra/launcher=pool?"
    ),
    "noise=5": "noise=5 names no option of the group noise. --help lists its options: noise=<option>.",
    # values
    "noise.sigma=-1": "noise.sigma must be >= 0, got -1.0.",
    "noise.sigma=0.1,-1 seed=-1": "seed must be >= 0, got -1.\nnoise.sigma must be >= 0, got -1.0.",
    "noise.sigma=abc": "noise.sigma must be a number, got 'abc'.",
    "noise.sigma=": "noise.sigma must be a number, got ''.",
    "noise.sigma=null": "gaussian needs a strength, got none. Give noise.sigma.",
    "noise.sigma=nan": "noise.sigma must be a finite number, got nan.",
    "seed=-1": "seed must be >= 0, got -1.",
    "seed=1.5": "seed must be a whole number, got 1.5.",
    "noise.when=sometimes": "noise.when must be 'train', 'eval' or 'always', got 'sometimes'.",
    "noise.levels=[]": "noise.levels must be 'all' or a list of distinct levels, got [].",
    "noise.levels=p2": "noise.levels must be 'all' or a list, got 'p2'.",
    "schedule.iterations=-1": "schedule.iterations must be >= 0, got -1.",
    "noise.type=gausian": (
        "noise.type: 'gausian' is not a noise type. Available: channel_dropout, channel_stats, dropblock, dropout, "
        "dsu, gaussian, mixstyle, quantization, saliency_dropout, speckle, uniform, none. Did you mean 'gaussian'?"
    ),
    "noise=uniform noise.sigma=0.1 noise.params.half_width=0.2": (
        "noise.sigma=0.1 and noise.params.half_width=0.2 are both given; keep one."
    ),
    "noise=dropout noise.params.p=1": "noise.params.p must be >= 0 and < 1, got 1.",
    "noise=mixstyle noise.when=eval": (
        "noise.type=mixstyle mixes the images of a batch, so its result in evaluation would depend on the batch size; "
        "noise.when must be train, got eval."
    ),
    "noise.schedule.start=5 noise.schedule.stop=3": (
        "noise.schedule.stop must be after noise.schedule.start=5, got 3."
    ),
    "evaluation.primary_metric=accuracy": (
        "evaluation.primary_metric must be bbox/, segm/ or keypoints/ and AP, AP50, AP75, APs, APm or APl (for example "
        "segm/AP), or sem_seg/mIoU, got 'accuracy'."
    ),
    "sweep.name=../x": ("sweep.name must be letters, digits and . _ + - only, a letter or digit first, got '../x'."),
    "sweep.device=tpu": "sweep.device must be auto, cpu or cuda (which ones: hydra.launcher.gpus=[0,1]), got 'tpu'.",
    "seed=${nothing}": "seed: Interpolation key 'nothing' not found.",
    "noise=glob(zzz*)": "The command requests no run: a sweep among its values is empty.",
    # the launcher
    "hydra.launcher.workers=0": "hydra.launcher.workers must be >= 1, got 0.",
    "hydra.launcher.workers=two": (
        "hydra.launcher.workers: Value 'two' of type 'str' could not be converted to Integer."
    ),
    "hydra.launcher.timeout=-5": "hydra.launcher.timeout must be > 0 seconds, got -5.",
    "hydra.launcher.gpu=1": "hydra.launcher.gpu is not a key. Did you mean hydra.launcher.gpus?",
    # syntax
    "noise.sigma": f"'noise.sigma' cannot be read: missing EQUAL at '<EOF>'. {SYNTAX}",
    "noise.levels=[p2": f"'noise.levels=[p2' cannot be read: no viable alternative at input '[p2'. {SYNTAX}",
    "seed=range(3": f"'seed=range(3' cannot be read: no viable alternative at input 'range(3'. {SYNTAX}",
    # files
    f"model.config={ZOO_NAME.replace('rcnn', 'rccn')}": (
        "model.config must be a YAML or .py file that exists or a name of detectron2's model zoo, got "
        f"'{ZOO_NAME.replace('rcnn', 'rccn')}'. Did you mean {ZOO_NAME}?"
    ),
    "model.config=/nowhere/x.yaml": (
        "model.config must be a YAML or .py file that exists or a name of detectron2's model zoo, got "
        f"'/nowhere/x.yaml'. For example {ZOO_NAME}."
    ),
    "model.weights=/nowhere/w.pth": ("model.weights must be a file that exists, got /nowhere/w.pth. Check the path."),
    "sweep.root=/dev/null/x": (
        "/dev/null/x/micro-shapes cannot be written: /dev/null is not a folder. Choose another folder with "
        "sweep.root=..."
    ),
}


@pytest.mark.parametrize("arguments", BAD)
def test_a_bad_input_is_refused_in_words_before_anything_starts(command, root, arguments):
    result = command(*arguments.split(" "))
    assert result.status == 1
    assert result.err == BAD[arguments]
    assert result.out == ""
    assert not root.exists()


def test_no_refusal_is_longer_than_three_lines():
    assert max(len(message.splitlines()) for message in BAD.values()) <= 3


@pytest.fixture
def real(bare_command, micro, root):
    """The refusal of a command about the micro model and COCO files."""
    model = [override for override in micro if override.startswith("model.")]

    def refusal(*arguments):
        result = bare_command(*model, "dataset=coco_json", *arguments)
        assert (result.status, result.out) == (1, "")
        assert not root.exists()
        return result.err

    return refusal


def test_missing_data_keys_are_named(real):
    assert real("dataset.train_json=x", "dataset.train_images=x") == (
        "dataset.test_json, dataset.test_images must be given. Add to the command: dataset.test_json=... "
        "dataset.test_images=..., or dataset.test_share=0.2 to split dataset.train_json."
    )


def test_a_missing_json_file_is_named(real, coco_folder):
    folder = coco_folder()
    (folder / "test.json").unlink()
    assert real(*_coco(folder)) == (
        f"{folder / 'test.json'} cannot be read: No such file or directory. Give COCO files that exist "
        "(dataset.train_json, dataset.test_json)."
    )


def test_json_that_is_not_coco_is_refused(real, coco_folder):
    folder = coco_folder()
    (folder / "train.json").write_text('{"shapes": []}')
    assert real(*_coco(folder)) == (
        f"{folder / 'train.json'} is not COCO: 'images' must be a list of objects, its keys are ['shapes']. Give a "
        "file in COCO format."
    )


def test_text_that_is_not_json_is_refused(real, coco_folder):
    folder = coco_folder()
    (folder / "train.json").write_text("images: []")
    assert real(*_coco(folder)) == (
        f"{folder / 'train.json'} is not JSON: Expecting value: line 1 column 1 (char 0). Give a file in COCO format."
    )


def test_a_missing_image_is_named(real, coco_folder):
    folder = coco_folder()
    (folder / "images" / "2.png").unlink()
    assert real(*_coco(folder)) == (
        f"1 of 2 images of {folder / 'train.json'} are not in {folder / 'images'}, the first is '2.png'. Set the "
        "folder of the images (dataset.train_images, dataset.test_images)."
    )


def test_a_level_that_the_model_does_not_produce_is_refused(command, root):
    result = command("noise.levels=[p2,p9]")
    assert result.err == (
        "noise.levels: 'p9' is not produced by micro. Available: p2, p3, p4, p5, p6, res2, res3, res4, res5."
    )
    assert result.status == 1
    assert not root.exists()


def test_an_override_that_the_model_does_not_know_is_refused_before_training(command, root):
    result = command("+model.overrides.MODEL.MASC_ON=true")
    assert result.status == 1
    assert "MASC_ON" in result.err and "model.overrides" in result.err
    assert len(result.err.splitlines()) == 1
    assert not root.exists()


def test_a_config_that_is_no_detectron2_config_is_refused_before_training(command, root, tmp_path):
    (tmp_path / "other.yaml").write_text("optimizer: adam")
    result = command(f"model.config={tmp_path / 'other.yaml'}")
    assert result.status == 1
    assert "other.yaml" in result.err and "optimizer" in result.err
    assert not root.exists()


def test_a_dry_run_prints_the_plan_and_writes_nothing(command, root):
    result = command("noise.sigma=0,0.05,0.1", "noise.when=train,always", "seed=0,1", "sweep.dry_run=true")
    assert result.status == 0
    assert result.out == (
        "micro-shapes: 12 runs (2 sharing another one's result), 6 trainings, time unknown until one training is done\n"
    )
    assert not root.exists()


def test_a_dry_run_prints_a_summary_of_the_data_and_remarks(bare_command, micro, root, coco_folder):
    folder = coco_folder(edit=lambda data: data["annotations"][0].update(bbox=[9, 9, 0, 0]))
    model = [override for override in micro if override.startswith("model.")]
    result = bare_command(*model, "dataset=coco_json", *_coco(folder), "seed=0,1", "sweep.dry_run=true")
    assert result.out.splitlines() == [
        "micro-coco_json: 2 runs, 2 trainings, time unknown until one training is done",
        "coco_json: 2 images with 3 objects to train on and 2 images with 3 objects to test on; 2 classes (square, "
        "box), masks, images of 64 pixels.",
        "  train.json: 1 of 4 objects have a box without an area in their image: no training sees them, and no test "
        "finds them; the first is annotation 1.",
        "  test.json: 1 of 4 objects have a box without an area in their image: no training sees them, and no test "
        "finds them; the first is annotation 1.",
        f"  2 of 2 test images are also trained on, the first is {folder / 'images' / '1.png'}: the AP says nothing "
        "about new images.",
    ]
    assert not root.exists()


def test_a_broken_image_is_refused_before_anything_starts(real, coco_folder):
    folder = coco_folder()
    (folder / "images" / "2.png").write_bytes((folder / "images" / "2.png").read_bytes()[:90])
    assert real(*_coco(folder)).startswith(
        f"1 of 2 images of {folder / 'train.json'} in {folder / 'images'} cannot be read, the first is '2.png': "
    )


def test_a_dry_run_lists_the_invalid_cells(command):
    result = command("noise.sigma=0.1,-1", "noise.levels=all,[p9]", "sweep.dry_run=true")
    assert result.out.splitlines() == [
        "micro-shapes: 1 run, 1 training, 3 invalid, time unknown until one training is done",
        "invalid: noise.sigma=-1 noise.levels=all: noise.sigma must be >= 0, got -1.0.",
        "invalid: noise.sigma=-1 noise.levels=['p9']: noise.sigma must be >= 0, got -1.0.",
        "invalid: noise.sigma=0.1 noise.levels=['p9']: noise.levels: 'p9' is not produced by micro. Available: p2, "
        "p3, p4, p5, p6, res2, res3, res4, res5.",
    ]


def _process(*arguments, **environment):
    command = [sys.executable, "-m", "ablation.run", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=os.environ | environment)


def test_a_real_process_says_it_on_stderr_and_ends_with_1():
    result = _process("noise.sigm=0.1")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "noise.sigm is not a key. Did you mean noise.sigma?\n"


def test_the_traceback_is_shown_on_request():
    result = _process("noise.sigm=0.1", HYDRA_FULL_ERROR="1")
    assert result.returncode == 1
    assert "Traceback" in result.stderr


def test_an_unknown_flag_is_refused_by_name():
    result = _process("--dry-run")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1].endswith("error: unrecognized arguments: --dry-run")


def test_the_version_names_what_decides_a_result():
    result = _process("--version")
    assert result.returncode == 0
    assert re.fullmatch(r"ablation \S+, detectron2 \S+, torch \S+, Hydra 1\.\S+\n", result.stdout)


@pytest.mark.parametrize("module", ["run", "report", "preview"])
def test_output_that_nobody_reads_ends_quietly(module):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", f"ablation.{module}", "--help"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT)
    os.close(writer)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (Failure("signal", "Died of SIGHUP."), "ended early: Died of SIGHUP."),
        (Failure("out-of-memory", "MemoryError: no"), "No memory to build the model micro: MemoryError: no. Free some"),
        (Failure("exception", "KeyError: 'X'."), "cannot be built: KeyError: 'X'. Check model.config"),
    ],
)
def test_a_model_that_is_not_built_is_refused_with_the_cause(command, root, monkeypatch, failure, message):
    def die(*_, **__):
        raise launch.CallFailed(failure)

    monkeypatch.setattr(launch, "call", die)
    result = command()
    assert result.status == 1
    assert message in result.err
    assert not root.exists()


def test_ctrl_c_ends_with_130(command, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "call", interrupt)
    assert command().status == 130


def test_the_quotes_that_a_message_advises_work(command, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = "é ,=()[]#&~"
    result = command(f"sweep.root='~/{folder}'", "sweep.name=20261127", "sweep.dry_run=true")
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith("20261127: 1 run")
