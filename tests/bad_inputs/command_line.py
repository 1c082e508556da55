"""Flags, keys, values and their syntax, and folders that the command line names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from bad_inputs.bad_input import BadInput

ONE_FOR_ALL = "must be the same in the whole sweep, got"


def quoted(key: str, value: str) -> tuple[str, str]:
    """The message about a value that Hydra reads in quotes only: the word to type stands in it."""
    return "in a value must be in quotes", f"\"{key}='{value}'\""


def preset(text: str | bytes, group: str = "model") -> Callable[[Path], Sequence[str]]:
    """A command that chooses a preset of the user's own with this content."""

    def make(folder: Path) -> Sequence[str]:
        (folder / group).mkdir()
        (folder / group / "mine.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return ["--config-dir", str(folder), f"{group}=mine"]

    return make


def with_file(flag: str) -> Callable[[Path], Sequence[str]]:
    """A command that gives a file where a folder belongs."""

    def make(folder: Path) -> Sequence[str]:
        (folder / "file").write_text("")
        return [flag, str(folder / "file")]

    return make


KEYS = [
    BadInput("a key with an accent", "noise.sigmá=0.1", ("noise.sigmá",)),
    BadInput("no key", "=5", ("'=5' has no key", "Write key=value")),
    BadInput("two points in a key", "noise..sigma=1", ("'noise..sigma=1' cannot be read", "Write key=value")),
    BadInput("a key of another data set", "dataset.classes=[cell]", ("dataset.classes is not a key",)),
    BadInput("a deleted group", "~noise", ("noise.type is missing",)),
    BadInput("a key deleted that is not there", "~nois", ("'nois' does not exist",)),
    BadInput("a key added that is there", "+noise.sigma=1", ("noise.sigma", "Either remove + prefix")),
    BadInput("a forced key", "++noise.foo=1", ("noise.foo is not a key", "noise.sigma")),
    BadInput("a key of Hydra", "hydra.foo=1", ("hydra.foo is not a key", "hydra.launcher")),
    BadInput(
        "a key of another launcher", "hydra.launcher.n_jobs=2", ("hydra.launcher.n_jobs", "hydra.launcher.workers")
    ),
]

SYNTAX = [
    BadInput("a path with an accent", "sweep.root=/tmp/é", quoted("sweep.root", "/tmp/é")),
    BadInput("a home folder", "sweep.root=~/sweeps", quoted("sweep.root", "~/sweeps")),
    BadInput("a path with =", "sweep.root=a=b", quoted("sweep.root", "a=b")),
    BadInput("a path with #", "sweep.root=a#b", quoted("sweep.root", "a#b")),
    BadInput("a path with &", "sweep.root=a&b", quoted("sweep.root", "a&b")),
    BadInput("two keys in one word", "noise.sigma=0.1;seed=1", ("; =", "must be in quotes")),
    BadInput("quotes that do not end", "sweep.root='a", ('"sweep.root=\'a" cannot be read', "Write key=value")),
    BadInput("a comma at the end", "noise.sigma=0.1,", ("'noise.sigma=0.1,' cannot be read", "key=a,b,c")),
    BadInput("a function that does not exist", "noise.sigma=linspace(0,1)", ("linspace", "Available: bool,choice")),
    BadInput("a choice of nothing", "noise.sigma=choice()", ("'noise.sigma=choice()'", "empty choice")),
    BadInput("a continuous range", "noise.sigma=interval(0,1)", ("noise.sigma=interval(0,1)", "range(0,1,0.1)")),
    BadInput("text after a range", "seed=range(2)x", ("'seed=range(2)x' cannot be read",)),
]

OPTIONS = [
    BadInput("null for a group", "noise=null", ("noise=null names no option of the group noise", "--help")),
    BadInput("null among the options of a group", "noise=gaussian,null", ("noise=null names no option",)),
    BadInput("no option of a group", "noise=", ("noise= is not an option", "gaussian")),
    BadInput("a model that is not there", "model=resnet", ("model=resnet is not an option", "mask_rcnn_r50_fpn")),
    BadInput("a data set that is not there", "dataset=imagenet", ("dataset=imagenet", "coco_json")),
    BadInput("a group twice", "+noise=gaussian", ("noise appears more than once",)),
    BadInput("several experiments", "experiment=dsu,mixstyle", ("experiment=dsu,mixstyle", "one command for each")),
    BadInput("no launcher", "hydra/launcher=null", ("hydra/launcher=null names no option",)),
    BadInput("a launcher that is not installed", "hydra/launcher=submitit", ("hydra/launcher=submitit", "pool")),
    BadInput("Hydra's sweeper", "hydra/sweeper=basic", ("hydra/sweeper must be ablation, got basic", "Leave")),
    BadInput("Hydra's mode of one run", "hydra.mode=RUN", ("hydra.mode must be MULTIRUN, got RUN", "Leave")),
    BadInput("that mode in a dry run", "hydra.mode=RUN sweep.dry_run=true", ("hydra.mode must be MULTIRUN",)),
    BadInput("a folder for each job", "hydra.job.chdir=true", ("hydra.job.chdir must be false", "Leave")),
    BadInput("a launcher emptied", "hydra.launcher=null", ("Hydra launcher is not configured", "keys of hydra")),
    BadInput("Hydra's keys swept", "hydra.launcher.workers=1,2", ("hydra.launcher.workers=1,2", "not supported")),
]

VALUES = [
    BadInput("two folders", "sweep.root=a,b", (f"sweep.root {ONE_FOR_ALL} a and b", "Give one value")),
    BadInput("two names", "sweep.name=a,b", (f"sweep.name {ONE_FOR_ALL} a and b", "a command for each")),
    BadInput("two numbers of threads", "sweep.threads=1,2", (f"sweep.threads {ONE_FOR_ALL} 1 and 2",)),
    BadInput(
        "two primary metrics",
        "evaluation.primary_metric=segm/AP,bbox/AP",
        (f"evaluation.primary_metric {ONE_FOR_ALL} segm/AP and bbox/AP",),
    ),
    BadInput("two numbers of pictures", "evaluation.pictures=0,4", (f"evaluation.pictures {ONE_FOR_ALL} 0 and 4",)),
    BadInput("a number for a folder", "sweep.root=5", ("sweep.root must be text, got 5", "\"sweep.root='5'\"")),
    BadInput("a number for a data set", "dataset.name=2017", ("must be text", "\"dataset.name='2017'\"")),
    BadInput("a truth value for a name", "sweep.name=true", ("must be text", "\"sweep.name='true'\"")),
    BadInput("a name that is too long", f"sweep.name={'x' * 81}", ("sweep.name must be at most 80 characters",)),
    BadInput("a name that is a path", "sweep.name=a/b", ("sweep.name must be letters", "'a/b'")),
    BadInput("a name in another script", "sweep.name='é'", ("sweep.name must be letters", "'é'")),
    BadInput(
        "a GPU that is not there", "sweep.device=cuda hydra.launcher.gpus=[]", ("needs a GPU", "sweep.device=auto")
    ),
    BadInput("that GPU in a dry run", "sweep.device=cuda hydra.launcher.gpus=[] sweep.dry_run=true", ("needs a GPU",)),
    BadInput("text for a truth value", "sweep.dry_run=maybe", ("sweep.dry_run must be true or false",)),
    BadInput("endless iterations", f"schedule.iterations={10**23}", ("schedule.iterations must be <= 1000000000",)),
    BadInput("iterations as a power", "schedule.iterations=1e23", ("schedule.iterations must be a whole number",)),
    BadInput("endless epochs", "schedule.epochs=1e23", ("schedule.epochs must be <= 1000000000",)),
    BadInput("iterations and epochs", "schedule.iterations=9 schedule.epochs=1", ("Give one of them",)),
    BadInput("a decay that is not there", "schedule.decay=linear", ("must be 'step' or 'cosine', got 'linear'",)),
    BadInput("a huge strength", "noise.sigma=1e400", ("noise.sigma must be a finite number, got inf",)),
    BadInput("a list of strengths", "noise.sigma=[0,0.1]", ("noise.sigma must be a number, got [0, 0.1]",)),
    BadInput("a large seed", f"seed={2**31}", ("seed must be < 2147483648",)),
    BadInput("a home that is not there", "model.weights='~nobody0/x.pth'", ("model.weights", "~nobody0/x.pth")),
    BadInput("a GPU by name", "hydra.launcher.gpus=[a]", ("hydra.launcher.gpus", "'a'")),
    BadInput("a negative GPU", "hydra.launcher.gpus=[-1]", ("hydra.launcher.gpus must be numbers of GPUs", "[-1]")),
    BadInput("one GPU without a list", "hydra.launcher.gpus=0", ("hydra.launcher.gpus", "int is not a ListConfig")),
    BadInput("no retry", "hydra.launcher.retries=-1", ("hydra.launcher.retries must be >= 0, got -1",)),
    BadInput("a time in words", "hydra.launcher.timeout=soon", ("hydra.launcher.timeout", "'soon'")),
]

FILES = [
    BadInput("broken YAML", preset("name: [mine"), ("mine.yaml, line 1", "not YAML", "Correct the file")),
    BadInput("a key twice in YAML", preset("name: a\nname: b"), ("mine.yaml, line 2", "duplicate key name")),
    BadInput("a tab in YAML", preset("\tname: a"), ("mine.yaml, line 1", "Correct the file")),
    BadInput("code in YAML", preset("!!python/object:os.system x"), ("mine.yaml, line 1", "os.system")),
    BadInput("bytes for YAML", preset(b"\xff\xfe\x00"), ("not UTF-8", "Correct the file")),
    BadInput("a list for a preset", preset("- a"), ("model/mine", "Cannot merge DictConfig with ListConfig")),
    BadInput("an empty preset", preset("", "dataset"), ("dataset.type is missing",), program="bare run"),
    BadInput("a preset of a type that is not there", preset("type: gauss", "noise"), ("'gauss'", "'gaussian'")),
    BadInput("a preset on one that is not there", preset("defaults: [nowhere]"), ("model/mine", "model/nowhere")),
    BadInput(
        "a preset with an open reference",
        preset("name: ${nope}"),
        ("model.name", "'nope' not found"),
        program="bare run",
    ),
    BadInput(
        "a key that a preset leaves out",
        lambda folder: [*preset("name: a\ntype: coco_json", "dataset")(folder), "dataset.classes=[a]"],
        ("dataset.classes is not set by this option", "+dataset.classes="),
        program="bare run",
    ),
    BadInput("a folder of presets that is not there", "--config-dir /nowhere", ("/nowhere", "not found")),
    BadInput("a file for a folder of presets", with_file("--config-dir"), ("file' not found",)),
    BadInput("a configuration that is not there", "--config-name nope", ("'nope'",)),
]

FLAGS = [
    BadInput("an unknown flag", "--dry", ("unrecognized arguments: --dry",), status=2),
    BadInput("a kind of configuration that is not there", "--cfg all!", ("--cfg", "'job'"), status=2),
    BadInput("two kinds of command", "--multirun --cfg job", ("Only one of --run, --multirun, --cfg",)),
    BadInput("a shell that is not there", "-sc install=cmd", ("'cmd'", "bash")),
    BadInput("the report without a folder", lambda _: [], ("FOLDER",), program="report", status=2),
    BadInput("the report with an unknown flag", "--open x", ("--open",), program="report", status=2),
    BadInput("a score in words", "--score high", ("--score", "'high'"), program="preview", status=2),
    BadInput("a preview of several noises", "noise.sigma=0,1", ("noise.sigma=0,1 is a sweep",), program="preview"),
    BadInput("a preview of a key that is not there", "noise.sigm=1", ("noise.sigm is not a key",), program="preview"),
]

INPUTS = [*KEYS, *SYNTAX, *OPTIONS, *VALUES, *FILES, *FLAGS]
