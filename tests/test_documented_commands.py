"""Every command of the README and the documentation is one that works.

Quick: each `ablation.run` composes and validates, with the files that it names put in place. Slow: each is really run
from the folder of a reader, with the smallest model, few images and two iterations.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from conftest import HANGS, MICRO, ROOT, tiny_coco
from PIL import Image

PAGES = [ROOT / "README.md", ROOT / "sweeps" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PATTERN = re.compile(r"python -m (ablation\.\w+ \S|benchmarks)")
NOT_HERE = {"submitit_slurm": "Slurm", "submitit_local": "submitit", "ray": "Ray", "joblib": "joblib"}


def prose(page):
    return re.sub(r"```.*?```", "", page.read_text(), flags=re.S)


def lines_of(page):
    """Each line for a shell: of blocks, and of those inside a sentence."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(), re.S)
    inline = re.findall(r"`(python -m [^`\n]+)`", prose(page))
    return [*(line for block in blocks for line in block.replace("\\\n", " ").splitlines()), *inline]


def comments_of(folder):
    """Commands in the comments of configuration files, and in the help."""
    text = "\n".join(path.read_text() for path in sorted(folder.rglob("*.yaml")))
    return re.findall(r"^[# ]+(python -m ablation.*)$", text, re.M)


def documented():
    """Each command line once, with the page it stands on."""
    found = {}
    for page in PAGES:
        for line in lines_of(page):
            if PATTERN.search(line):
                found.setdefault(
                    " ".join(shlex.split(line, comments=True)), (page.name, shlex.split(line, comments=True))
                )
    return [pytest.param(words, id=f"{page}: {' '.join(words[2:])}") for page, words in found.values()]


COMMANDS = documented()
RUNS = [command for command in COMMANDS if command.values[0][2] == "ablation.run"]


def launcher_of(words):
    return next((word.split("=")[1] for word in words if word.startswith("hydra/launcher=")), "pool")


def fill_in(words, folder):
    """The words with the reader's files in place of those that the page names, and that make them quick."""
    names = {
        "/data/coco": str(folder / "coco"),
        "=nuclei/": f"={folder}/nuclei/",
        "=sweeps/example-nuclei/": f"={ROOT}/sweeps/example-nuclei/",
        "theirs.pth": str(folder / "theirs.safetensors"),
        "benchmarks.<name>": "benchmarks.report",
        "<id>": "the-training",
        "<name>": "tiny_mask_rcnn-shapes",
        "seed=range(8)": "seed=range(2)",
    }
    for placeholder, real in names.items():
        words = [word.replace(placeholder, real) for word in words]
    return words


@pytest.mark.parametrize("line", [*(line for page in PAGES for line in lines_of(page)), *comments_of(ROOT / "conf")])
def test_a_shell_reads_a_line_as_it_is_meant(line):
    line = re.sub(r"<[a-z ]+>", "filled-in", line)
    subprocess.run(["bash", "-n", "-c", line], check=True, capture_output=True)
    bare = re.sub(r"'[^']*'|\"[^\"]*\"", "", re.sub(r"(^| )#.*", "", line))
    assert not set(bare) & set("()[]{}*?;&|"), "bash or zsh would take it for something else; quote the word"


@pytest.mark.parametrize("words", RUNS)
def test_a_documented_command_composes_and_is_valid(words, requested_cells, reader):
    launcher = launcher_of(words)
    if launcher in NOT_HERE:
        words = [word for word in words if "hydra" not in word]  # the plugins are an extra
    overrides = [word for word in fill_in(words, reader)[3:] if word != "-m"]
    if any(word.startswith("--") for word in overrides):
        pytest.skip("an option of Hydra's; the slow test runs it")
    assert requested_cells(*overrides)


def test_every_make_target_that_a_page_names_exists():
    text = "\n".join(page.read_text() for page in PAGES)
    targets = set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.M))
    assert {"setup", "demo", "test"} <= targets
    subprocess.run(["make", "--dry-run", *targets], cwd=ROOT, check=True, capture_output=True)


def anchors(page):
    headings = re.findall(r"^#+ (.*)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_between_pages_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)]+)\)", prose(page)):
        name, _, anchor = link.partition("#")
        if link.startswith("http"):
            continue
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.slow
@pytest.mark.parametrize("words", COMMANDS)
def test_a_documented_command_works(words, reader, trained):
    shutil.copytree(trained, reader, dirs_exist_ok=True)
    if "sweeps/example-shapes" in words:
        shutil.copytree(ROOT / "sweeps" / "example-shapes", reader / "sweeps" / "example-shapes")
    if NOT_HERE.get(launcher_of(words)):
        pytest.skip(f"needs {NOT_HERE[launcher_of(words)]}")
    module, *rest = fill_in(words, reader)[2:]
    if module == "ablation.run" and not {"--help", "--cfg"} & set(rest):
        rest += small(rest)
    elif module == "ablation.preview":
        rest += [m for m in MICRO if not m.startswith("model.weights")]
        rest += [] if any(word.startswith("model.weights") for word in rest) else ["model.weights=''"]
    elif module.startswith("benchmarks"):
        rest = ["--help"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", "-m", module, *rest]
    done = subprocess.run(
        command, cwd=reader, env=environment, capture_output=True, text=True, timeout=HANGS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def small(words):
    """Overrides that make a command a matter of seconds without taking away what it shows."""
    keys = {word.split("=")[0].lstrip("+") for word in words}
    shapes = not any(word.startswith("dataset=") for word in words)
    chosen = [m for m in MICRO if shapes or m.startswith("model.")]
    chosen += ["schedule.iterations=2", "sweep.threads=1"]
    if any(word.startswith("model=") for word in words):  # a real model keeps its kind and its weights are not here
        chosen = [m for m in chosen if not m.startswith("model.")]
        chosen += ["model.weights=''", "sweep.dry_run=true"]
    return [m for m in chosen if m.split("=")[0] not in keys]


@pytest.fixture
def reader(tmp_path):
    """The working folder of somebody who follows the pages, with the files that they name."""
    folder = tmp_path / "reader"
    for name, layout in (("nuclei", "{split}.json"), ("coco", "annotations/instances_{split}2017.json")):
        for split in ("train", "val"):
            images = folder / name / ("images" if name == "nuclei" else f"{split}2017")
            images.mkdir(parents=True, exist_ok=True)
            data = tiny_coco(2)
            for entry in data["images"]:
                entry["file_name"] = f"{split}-{entry['file_name']}"
                Image.new("RGB", (64, 64), (len(split), 90, entry["id"])).save(images / entry["file_name"])
            for category, title in zip(data["categories"], ("person", "train"), strict=True):
                category["name"] = title
            path = folder / name / layout.format(split=split)
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(data))
    Image.new("RGB", (64, 64), (30, 60, 90)).save(folder / "street.jpg")
    (folder / "my_conf" / "model").mkdir(parents=True)
    shutil.copy(ROOT / "conf" / "model" / "tiny_mask_rcnn.yaml", folder / "my_conf" / "model" / "mine.yaml")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a finished sweep of the smallest model, and its weights under the names that the pages use."""
    folder = tmp_path_factory.mktemp("reader")
    command = [sys.executable, "-W", "ignore", "-m", "ablation.run", *MICRO, "schedule.iterations=2", "noise=none"]
    subprocess.run(
        [*command, "sweep.name=tiny_mask_rcnn-shapes"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
    )
    trainings = folder / "sweeps" / "tiny_mask_rcnn-shapes" / "trainings"
    (weights,) = trainings.glob("*/model.safetensors")
    (trainings / "the-training").mkdir()
    shutil.copy(weights, trainings / "the-training")
    shutil.copy(weights, folder / "theirs.safetensors")
    return folder
