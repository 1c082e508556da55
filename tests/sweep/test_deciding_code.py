"""Which changes of the code keep a sweep from growing, and which do not."""

import io
import shutil
import tokenize

import pytest
from conftest import ROOT

from ablation.config.schemas import validate_config
from ablation.records import code
from ablation.sweep import deciding_code
from ablation.sweep.deciding_code import evaluation_code, training_code

SOURCES = sorted((ROOT / "ablation").rglob("*.py"))
HARMLESS = {"data/build", "data/survey", "evaluation/pictures", "noise/__init__", "models/zoo/__init__"}
ALL = {"execute", "data", "models", "models/yacs", "models/lazy", "training", "training/distributed"}
ALL |= {"training/validation", "evaluation", "evaluation/corruptions", "evaluation/robustness", "scoring"}
ALL |= {f"data/{kind}" for kind in deciding_code.KINDS}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package, in which a test may change files."""
    copied = tmp_path / "ablation"
    shutil.copytree(ROOT / "ablation", copied, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    monkeypatch.setattr(code, "PACKAGE", copied)
    monkeypatch.setattr(deciding_code, "PACKAGE", copied)

    def edit(module, old="", new=""):
        file = copied / f"{module}.py"
        text = file.read_text() if file.exists() else ""
        assert old in text
        file.write_text(text.replace(old, new, 1) if old else text + new)
        deciding_code.fingerprint_part.cache_clear()
        code.fingerprint.cache_clear()

    yield edit
    deciding_code.fingerprint_part.cache_clear()
    code.fingerprint.cache_clear()


@pytest.fixture
def config(compose, micro):
    return lambda *overrides: validate_config(compose(*micro, *overrides))


def changed(package, config, module, *overrides, old="", new="\nADDED = 1\n"):
    config = config(*overrides)
    before = {**training_code(config), **evaluation_code(config)}
    package(module, old, new)
    return deciding_code.changed_code(before)


def test_another_noise_type_changes_nothing(package, config):
    assert changed(package, config, "noise/brand_new", "noise.sigma=0.1", new="class BrandNew: ...") == []
    assert changed(package, config, "noise/uniform", "noise.sigma=0.1") == []


def test_the_noise_type_in_use_and_what_it_is_made_of_count(package, config):
    assert changed(package, config, "noise/gaussian", "noise.sigma=0.1") == ["code of noise/gaussian"]
    assert changed(package, config, "noise/_draws", "noise.sigma=0.1") == ["code of noise/gaussian"]
    assert changed(package, config, "noise/base", "evaluation.noise_grid.sigmas=[0.1]") == ["code of noise/gaussian"]
    assert changed(package, config, "noise/gaussian", "noise.sigma=0") == []


@pytest.mark.parametrize(
    ("module", "overrides", "part"),
    [
        ("data/loaders", [], "data"),
        ("data/shapes/generate", [], "data/shapes"),
        ("models/injection", [], "models"),
        ("models/yacs", [], "models/yacs"),
        ("training/trainer", [], "training"),
        ("training/validation", ["evaluation.loss_period=1"], "training/validation"),
        ("training/distributed", ["schedule.devices=2"], "training/distributed"),
        ("evaluation/matching", [], "evaluation"),
        ("scoring/accumulation", [], "scoring"),
        ("evaluation/corruptions", ["evaluation.corruptions=[fog]"], "evaluation/corruptions"),
    ],
)
def test_code_that_decides_a_result_counts(package, config, module, overrides, part):
    assert changed(package, config, module, *overrides) == [f"code of {part}"]


@pytest.mark.parametrize(
    "module",
    ["data/coco_format", "models/lazy", "training/validation", "training/distributed", "evaluation/corruptions"],
)
def test_code_that_only_other_results_use_does_not_count(package, config, module):
    assert changed(package, config, module) == []


def test_comments_docstrings_and_blank_lines_do_not_count(package, config):
    assert changed(package, config, "training/trainer", new="\n\n# A comment.\n\n") == []
    text = (ROOT / "ablation" / "training" / "trainer.py").read_text()
    docstring = text[: text.index('"""', 3) + 3]
    assert changed(package, config, "training/trainer", old=docstring, new='"""Other words."""') == []


def test_the_code_of_a_training_says_nothing_of_its_evaluation(config):
    assert not {"evaluation", "scoring"} & set(training_code(config()))
    assert "training" not in evaluation_code(config())


def test_a_part_that_is_gone_is_a_change():
    assert deciding_code.changed_code({"noise/never_there": "123"}) == ["code of noise/never_there"]


def test_every_module_that_can_decide_a_result_belongs_to_a_part():
    parts = ALL | {f"noise/{path.stem}" for path in (ROOT / "ablation" / "noise").glob("[a-z]*.py")}
    covered = {module for part in parts for module in deciding_code._modules(part)}
    packages = ("data", "evaluation", "models", "noise", "scoring", "training")
    modules = {p.relative_to(ROOT / "ablation").with_suffix("").as_posix() for p in SOURCES}
    decisive = {m for m in modules if m.startswith(packages) and not m.startswith("models/zoo/")}
    assert {m for m in decisive - covered - HARMLESS if not m.endswith("__init__")} == set()


@pytest.mark.parametrize("text", ["x = f'{a!r} {b}'\n", "def f():\n    return (1,\n  2)\n", "x = 'a' \\\n    'b'\n"])
def test_layout_inside_a_statement_does_not_count_and_the_statement_does(text):
    joined = list(code.tokens(text))
    assert joined == list(code.tokens(text.replace("\n  2", " 2").replace(" = ", "=").replace("    'b'", "'b'")))
    assert joined != list(code.tokens(text.replace("a", "c").replace("2", "3")))


def test_another_indentation_of_a_statement_counts():
    assert list(code.tokens("if a:\n    b\n    c\n")) != list(code.tokens("if a:\n    b\nc\n"))


@pytest.mark.skipif(hasattr(tokenize, "FSTRING_START"), reason="newer tokenizers split f-strings")
def test_the_tokens_are_those_of_pythons_own_tokenizer():
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.ENDMARKER, tokenize.INDENT, tokenize.DEDENT, tokenize.NEWLINE}
    for source in SOURCES:
        statements = [[]]
        for token in tokenize.generate_tokens(io.StringIO(source.read_text()).readline):
            if token.type == tokenize.NEWLINE:
                statements.append([])
            elif token.type not in skipped:
                statements[-1].append(token.string)
        expected = [t for s in statements if not (len(s) == 1 and s[0][-1] in "\"'") for t in s]
        assert "".join(t for t in code.tokens(source.read_text()) if t[0] != "\n") == "".join(expected), source
