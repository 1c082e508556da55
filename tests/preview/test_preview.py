"""The preview shows what the model saw, and nothing else; every preset is one published setting."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from matplotlib.figure import Figure
from PIL import Image

from ablation import noise
from ablation.config.schemas import validate_config
from ablation.data.build import build_dataset
from ablation.evaluation.pictures import detected_objects
from ablation.models.build import build_detector
from ablation.preview import __main__ as preview
from ablation.preview import figure as panels
from ablation.preview.compare import capture_features, compare, observe
from ablation.records.errors import AblationError, ConfigError

ROOT = Path(__file__).parents[2]
EXPERIMENTS = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml"))
FPN = ["p2", "p3", "p4", "p5", "p6"]


@pytest.fixture(scope="module")
def cell(module_compose, micro):
    """Overrides to a validated configuration whose noise always acts."""
    return lambda *overrides: preview.with_noise_in_evaluation(validate_config(module_compose(*micro, *overrides)))


def _observe(config, file=None):
    return observe(config, build_dataset(config.dataset), file)


@pytest.fixture(scope="module")
def model(cell):
    """The micro model with random weights, in evaluation mode."""
    config = cell("noise.sigma=0.25")
    dataset = build_dataset(config.dataset)
    dataset.prepare()
    torch.manual_seed(0)
    return build_detector(config, dataset).build().eval()


@pytest.fixture(scope="module")
def inputs():
    """An image of 60×50 pixels: its features have padding at the right and at the bottom."""
    pixels = torch.randint(0, 256, (3, 60, 50), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return {"image": pixels, "image_id": 7, "height": 60, "width": 50}


@pytest.fixture(scope="module")
def seen(cell):
    """What the preview of gaussian noise on all levels shows."""
    return _observe(cell("noise.sigma=0.25"))


def _hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def _level(comparison, name):
    return next(view for view in comparison.levels if view.level == name)


def test_difference_is_noisy_minus_clean(model, inputs, cell):
    # x·m/(1-p) with the same m for all channels: each position is 0 or doubled, so |noisy - clean| = |clean|.
    config = cell("noise=dropout", "noise.params.p=0.5", "noise.granularity=position")
    for view in compare(model, inputs, config.noise).levels:
        np.testing.assert_allclose(view.difference, view.clean, rtol=1e-4)
        np.testing.assert_allclose(np.where(view.noisy > 0, view.noisy / 2, view.clean), view.clean, rtol=1e-4)


def test_maps_are_the_channel_rms_of_what_the_hooks_caught(model, inputs, cell):
    config = cell("noise.sigma=0.25", "noise.levels=[p3]")
    with torch.no_grad(), capture_features(model, config.noise) as found:
        model([inputs])
    expected = found["p3"].square().mean(dim=0).sqrt().numpy()
    np.testing.assert_array_equal(_level(compare(model, inputs, config.noise), "p3").clean, expected)


def test_padding_is_cut_off(model, inputs, cell):
    view = _level(compare(model, inputs, cell("noise.sigma=0.25").noise), "p2")
    assert view.shape == (16, 15, 13)
    assert view.clean.shape == view.noisy.shape == view.difference.shape == (15, 13)


def test_maps_agree_with_the_telemetry(model, inputs, cell):
    for view in compare(model, inputs, cell("noise.sigma=0.5").noise).levels:
        assert np.sqrt(np.mean(view.clean**2)) == pytest.approx(view.telemetry.signal_rms, rel=1e-4)
        assert np.sqrt(np.mean(view.difference**2)) == pytest.approx(view.telemetry.noise_rms, rel=1e-4)


def test_realised_sigma_is_the_configured_one(seen):
    assert _level(seen.comparison, "p2").telemetry.sigma == pytest.approx(0.25, rel=0.1)


def test_all_means_every_output_of_the_backbone(seen):
    assert [view.level for view in seen.comparison.levels] == FPN


@pytest.mark.parametrize("destination", ["rpn", "roi"])
def test_noise_for_one_consumer_is_seen_where_that_consumer_reads(model, inputs, cell, destination):
    config = cell("noise.sigma=0.25", f"noise.destination={destination}")
    found = compare(model, inputs, config.noise)
    assert [view.level for view in found.levels] == (FPN if destination == "rpn" else FPN[:-1])
    assert all(view.difference.any() for view in found.levels)


def test_stages_below_the_fpn_can_be_seen(model, inputs, cell):
    found = compare(model, inputs, cell("noise.sigma=0.25", "noise.levels=[res3,res2]").noise)
    assert [view.level for view in found.levels] == ["res2", "res3"]
    inherited = np.sqrt(np.mean(_level(found, "res3").difference ** 2))
    assert inherited > _level(found, "res3").telemetry.noise_rms  # its own noise and that of res2


def test_hooks_are_removed(model, inputs, cell):
    before = _hooks(model)
    compare(model, inputs, cell("noise.sigma=0.25", "noise.levels=[p2,res2]").noise)
    assert _hooks(model) == before


def test_hooks_are_removed_when_the_model_fails(model, cell):
    before = _hooks(model)
    with pytest.raises(KeyError):
        compare(model, {}, cell("noise.sigma=0.25").noise)
    assert _hooks(model) == before


def test_noise_acts_whatever_the_phase_the_probability_and_the_schedule(cell):
    config = cell("noise=dropblock", "noise.params.p=0.1", "noise.probability=0.01", "noise.schedule.shape=linear")
    assert (config.noise.when, config.noise.probability) == ("eval", 1.0)
    assert {view.telemetry.calls for view in _observe(config).comparison.levels} == {1}


def test_an_image_file_may_be_given(cell, tmp_path):
    Image.new("L", (90, 70), 128).save(tmp_path / "grey.png")
    seen = _observe(cell("noise.sigma=0.25"), tmp_path / "grey.png")
    assert seen.image.shape == (70, 90, 3)
    assert seen.comparison.clean.image_size == (70, 90)


@pytest.mark.parametrize("name", ["missing.png", "text.png", ".", "empty.png", "torn.png", "torn.jpg", "broken.png"])
def test_a_file_that_is_no_image_is_refused(cell, tmp_path, name):
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.png").write_bytes(b"")
    for file in ("torn.png", "torn.jpg"):
        Image.effect_noise((64, 64), 50).save(tmp_path / file)
        (tmp_path / file).write_bytes((tmp_path / file).read_bytes()[:900])
    Image.new("L", (64, 64)).save(tmp_path / "broken.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "broken.png").read_bytes().replace(b"IDAT", b"\0\0\0\0"))
    with pytest.raises(AblationError, match=r"must be an image that can be read: .*Give another one with --image\."):
        _observe(cell("noise.sigma=0.25"), tmp_path / name)


NOTHING = "There is no noise to show: {}. Choose one, such as noise=gaussian noise.sigma=0.25"
REFUSED = {
    "noise=none": NOTHING.format("noise.type is none"),
    "noise.sigma=0": NOTHING.format("noise=gaussian has a strength of 0"),
    "noise=dsu noise.when=train": "noise=dsu is made of differences between the images of a batch, and a preview shows "
    "one image. Choose another type; the telemetry of a training holds the SNR of this one.",
}


@pytest.mark.parametrize("overrides", REFUSED)
def test_a_noise_that_cannot_be_shown_is_refused(cell, overrides):
    with pytest.raises(ConfigError) as refused:
        cell(*overrides.split())
    assert str(refused.value) == REFUSED[overrides]


# The figure


def _maps(drawn: Figure, levels: int) -> list:
    """The axes of the feature maps, row by row."""
    return drawn.subfigs[1].axes[: 3 * levels]


def test_one_column_per_level_with_one_colour_scale(seen):
    drawn = panels.figure(seen, "heading", "formula", 0.5)
    axes = _maps(drawn, 5)
    for column, view in enumerate(seen.comparison.levels):
        images = [axes[row * 5 + column].images[0] for row in range(3)]
        highest = max(view.clean.max(), view.noisy.max(), view.difference.max())
        assert [image.get_clim() for image in images] == [(0.0, pytest.approx(highest))] * 3
        for image, expected in zip(images, (view.clean, view.noisy, view.difference), strict=True):
            np.testing.assert_array_equal(image.get_array(), expected)
    assert len(drawn.subfigs[1].axes) == 3 * 5 + 5  # and one colour bar each


def test_titles_name_level_shape_and_realised_strength(seen):
    view = seen.comparison.levels[0]
    title = _maps(panels.figure(seen, "heading", "formula", 0.5), 5)[0].get_title()
    assert (
        title == f"p2: 16×16×16\nsigma {view.telemetry.sigma:.3g}, {panels.format_decibels(view.telemetry.snr_db)} dB"
    )


def test_a_single_level_is_one_column(cell):
    drawn = panels.figure(_observe(cell("noise.sigma=0.25", "noise.levels=[p4]")), "heading", "formula", 0.5)
    assert [ax.get_title().split(":")[0] for ax in _maps(drawn, 1)] == ["p4", "", ""]


def test_every_noise_type_that_one_image_can_have_is_drawn(cell, model, inputs):
    for name in noise.available():
        kind = noise.load(name)
        if kind.needs_batch:
            continue
        strength = [] if kind.realised_only else ["noise.sigma=0.3"]
        assert compare(model, inputs, cell(f"noise={name}", *strength).noise).levels


def test_an_snr_of_nearly_zero_has_no_sign():
    assert [panels.format_decibels(snr) for snr in (-0.04, 0.04, -0.06, 12.04)] == ["0.0", "0.0", "-0.1", "12.0"]


def _instances(scores):
    found = Instances((64, 64))
    found.pred_boxes = Boxes(torch.tensor([[4.0, 8.0, 30.0, 40.0]] * len(scores)))
    found.scores = torch.tensor(scores)
    found.pred_classes = torch.zeros(len(scores), dtype=torch.long)
    return found


def test_detections_below_the_score_are_counted_and_not_drawn(seen):
    found = replace(seen.comparison, noisy=_instances([0.3, 0.9, 0.6]))
    whole = panels.figure(replace(seen, comparison=found, classes=("cat",)), "heading", "formula", 0.5)
    assert whole.subfigs[0].axes[1].get_title() == "noisy: 2 of 3 detections (score >= 0.5)"
    labels = [one.label for one in detected_objects(found.noisy, ("cat",), 0.5)]
    assert labels == ["cat 0.90", "cat 0.60"]  # the surest first, which is drawn on top


def test_pictures_are_the_same_to_the_byte(seen):
    first, second = (panels.render(panels.figure(seen, "heading", "formula", 0.5)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


# The command


@pytest.fixture
def command(monkeypatch, capsys, micro):
    """`python -m ablation.preview` about the micro model, in this process: its output, or how it ended."""

    def run(*arguments):
        monkeypatch.setenv("HYDRA_FULL_ERROR", "")  # main sets it; this makes pytest restore it
        monkeypatch.delenv("HYDRA_FULL_ERROR")
        monkeypatch.setattr(sys, "path", sys.path[:])
        try:
            preview.main([*micro, *arguments])
        except SystemExit as end:
            return str(end.code)
        return capsys.readouterr().out

    return run


def test_the_command_writes_the_figure_and_prints_the_table(command, tmp_path):
    output = command("--out", str(tmp_path / "out"), "noise.sigma=0.25")
    assert Image.open(tmp_path / "out" / "1000001.png").size[0] > 600
    assert list((tmp_path / "out").glob("events.out.tfevents*"))
    assert [line.split()[0] for line in output.splitlines() if re.match(r"p\d ", line)] == FPN
    assert f"Figure: {tmp_path / 'out' / '1000001.png'}" in output


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("noise.levels=[p7]", "noise.levels: 'p7' is not produced by this model."),
        ("noise.sigma=-1", "noise.sigma must be >= 0, got -1."),
        ("noise.sigm=1", "noise.sigm is not a key. Did you mean noise.sigma?"),
        ("noise=gausian", "Did you mean noise=gaussian?"),
        ("noise.sigma=0,1", "noise.sigma=0,1 is a sweep, and a preview shows one noise. Give one value."),
    ],
)
def test_mistakes_end_in_one_message(command, override, message):
    assert message in command(override)


def test_a_folder_that_cannot_be_made_is_refused(command, tmp_path):
    (tmp_path / "file").write_text("")
    output = command("--out", str(tmp_path / "file"), "noise.sigma=0.25")
    assert output.startswith(f"--out must be a folder that can be made, got {tmp_path / 'file'}")


def test_help_loads_nothing_heavy():
    call = "    from ablation.preview.__main__ import main\n    main(['--help'])\n"
    script = f"import sys\ntry:\n{call}except SystemExit:\n    pass\nprint(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert "--image" in out
    assert not {"torch", "detectron2", "matplotlib", "pandas", "numpy", "hydra"} & set(out.split())


# The presets


def test_published_work_has_presets():
    published = "cct_f_drop cct_f_noise deepmirror dropblock_warmup dsu mixstyle normalization_perturbation unimatch"
    assert published.split() == EXPERIMENTS


@pytest.fixture(scope="module")
def swept(module_compose):
    """What the sweep of a preset composes, cell by cell."""

    def cells(name):
        from hydra import compose, initialize_config_dir

        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            cfg = compose("config", overrides=[f"experiment={name}"], return_hydra_config=True)
        ((key, values),) = cfg.hydra.sweeper.params.items()
        return [validate_config(module_compose(f"experiment={name}", f"{key}={value}")) for value in values.split(",")]

    return cells


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_preset_compares_its_noise_with_the_baseline(swept, name):
    baseline, noisy = swept(name)
    assert baseline.noise.built is None
    assert noisy.noise.acts("train") and not noisy.noise.acts("eval")
    assert baseline.sweep_name == noisy.sweep_name == name


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_preset_says_what_it_is_from_and_what_to_type(name):
    text = (ROOT / "conf" / "experiment" / f"{name}.yaml").read_text()
    assert re.search(r"arXiv:\d{4}\.\d{4,5}", text) or name == "deepmirror"
    assert f"#   python -m ablation.run experiment={name}" in text


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_preset_stands_in_the_documentation(name):
    assert f"| `{name}` |" in (ROOT / "docs" / "presets.md").read_text()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_preset_alone_is_its_noise(module_compose, name):
    assert validate_config(module_compose(f"experiment={name}")).noise.built is not None


@pytest.mark.parametrize(
    ("name", "sigma"),
    [
        ("deepmirror", 0.2 / 3**0.5),
        ("cct_f_noise", 0.3 / 3**0.5),
        ("unimatch", 1.0),
        ("normalization_perturbation", 0.75),
        ("dropblock_warmup", 0.3245),
    ],
)
def test_a_preset_has_the_published_strength(swept, name, sigma):
    assert swept(name)[1].noise.built.sigma == pytest.approx(sigma, rel=1e-3)
