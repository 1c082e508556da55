"""What may stand in a configuration, and the words in which the rest is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import _composed

from ablation import noise
from ablation.config.keys import did_you_mean, flatten
from ablation.config.schedule import REPLACED_KEYS
from ablation.config.schemas import validate_config
from ablation.records.errors import ConfigError

ROOT = Path(__file__).parents[2]
GROUPS = ("model", "dataset", "noise", "schedule", "evaluation", "sweep", "experiment")
# What an option needs besides its name.
NEEDS = {
    "noise=uniform": ["noise.sigma=0.1"],
    "noise=dropout": ["noise.sigma=0.1"],
    "noise=channel_dropout": ["noise.sigma=0.1"],
    "noise=dropblock": ["noise.sigma=0.1"],
    "dataset=coco_json": [f"dataset.{key}=x" for key in ("train_json", "train_images", "test_json", "test_images")],
    "dataset=coco": ["dataset.root=x"],
    "dataset=registered": ["dataset.train_name=x", "dataset.test_name=y"],
    "experiment=deepmirror": ["noise.sigma=0.11547"],
}
OPTIONS = [f"{group}={path.stem}" for group in GROUPS for path in sorted((ROOT / "conf" / group).glob("*.yaml"))]


def _with(composed, key, value):
    *path, last = key.split(".")
    node = composed
    for part in path:
        node = node[part]
    node[last] = value
    return composed


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_of_every_group_composes_and_validates(compose, option):
    assert validate_config(compose(option, *NEEDS.get(option, []))).seed == 0


def test_every_group_of_conf_is_tested():
    folders = {path.name for path in (ROOT / "conf").iterdir() if path.is_dir()} - {"hydra"}
    assert folders == set(GROUPS)


def test_every_noise_type_has_an_option_of_its_name_and_no_other_exists():
    assert {path.stem for path in (ROOT / "conf" / "noise").glob("*.yaml")} == {*noise.available(), "none"}


def test_the_default_is_gaussian_noise_of_20_db_in_training_on_all_levels(compose):
    config = validate_config(compose())
    assert (config.noise.type, config.noise.sigma) == ("gaussian", 0.1)
    assert (config.noise.levels, config.noise.when) == ("all", "train")
    assert config.noise.acts("train") and not config.noise.acts("eval")


def test_a_sweep_is_named_after_model_and_data_unless_it_is_named(compose):
    assert validate_config(compose()).sweep_name == "tiny_mask_rcnn-shapes"
    assert validate_config(compose("sweep.name=mine")).sweep_name == "mine"


def test_an_integer_is_a_number(compose):
    assert validate_config(compose("noise.sigma=1")).noise.sigma == 1.0


def test_a_configuration_cannot_be_changed(compose):
    with pytest.raises(ValueError, match="frozen"):
        validate_config(compose()).seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("seed", -1, "seed must be >= 0, got -1."),
        ("seed", 2**31, "seed must be < 2147483648, got 2147483648."),
        ("seed", 1.5, "seed must be a whole number, got 1.5."),
        ("seed", "0", "seed must be a whole number, got '0'."),
        ("seed", True, "seed must be a whole number, got True."),
        ("seed", None, "seed must be a whole number, got null."),
        ("noise.sigma", -0.1, "noise.sigma must be >= 0, got -0.1."),
        ("noise.sigma", "abc", "noise.sigma must be a number, got 'abc'."),
        ("noise.sigma", float("nan"), "noise.sigma must be a finite number, got nan."),
        ("noise.sigma", None, "gaussian needs a strength, got none. Give noise.sigma."),
        ("noise.when", "sometimes", "noise.when must be 'train', 'eval' or 'always', got 'sometimes'."),
        ("noise.scale", "big", "noise.scale must be 'relative' or 'absolute', got 'big'."),
        ("noise.levels", [], "noise.levels must be 'all' or a list of distinct levels, got []."),
        ("noise.levels", ["p2", "p2"], "noise.levels must be 'all' or a list of distinct levels, got ['p2', 'p2']."),
        ("noise.levels", "p2", "noise.levels must be 'all' or a list, got 'p2'."),
        ("noise.levels", [5], "noise.levels must be 'all' or a list of text, got [5]."),
        ("noise.probability", 0, "noise.probability must be > 0, got 0."),
        ("noise.probability", 1.5, "noise.probability must be <= 1, got 1.5."),
        ("noise.shared", "yes", "noise.shared must be true or false, got 'yes'."),
        ("noise.destination", "fpn", "noise.destination must be 'both', 'rpn' or 'roi', got 'fpn'."),
        ("noise.params", {"p": 1}, "noise.params.p is not a parameter of gaussian. It has no parameters; use {}."),
        ("noise.params", 3, "noise.params must be a mapping, got 3."),
        ("noise.schedule", 5, "noise.schedule must be a mapping, got 5."),
        ("noise.schedule.shape", "step", "noise.schedule.shape must be 'constant', 'linear' or 'cosine', got 'step'."),
        ("noise.schedule.start", -1, "noise.schedule.start must be >= 0, got -1."),
        (
            "noise.schedule.full",
            9,
            "noise.schedule.full=9 has no meaning for noise.schedule.shape=constant; choose linear or cosine, or "
            "leave full at null.",
        ),
        ("schedule.iterations", -1, "schedule.iterations must be >= 0, got -1."),
        ("schedule.batch_size", 0, "schedule.batch_size must be >= 1, got 0."),
        ("schedule.lr", 0.0, "schedule.lr must be > 0, got 0.0."),
        ("schedule.lr", float("inf"), "schedule.lr must be a finite number, got inf."),
        ("dataset.type", "voc", "dataset.type must be 'shapes' or 'coco' or 'coco_json' or 'registered', got 'voc'."),
        ("dataset.train_size", 0, "dataset.train_size must be >= 1, got 0."),
        ("dataset.image_size", 32, "dataset.image_size must be >= 64, got 32."),
        ("dataset.folder", 3, "dataset.folder must be text, got 3. Put it in quotes twice: \"dataset.folder='3'\"."),
        (
            "evaluation.primary_metric",
            "AP",
            "evaluation.primary_metric must be bbox/, segm/ or keypoints/ and AP, AP50, AP75, APs, APm or APl "
            "(for example segm/AP), or sem_seg/mIoU, got 'AP'.",
        ),
        ("evaluation.diverged", "drop", "evaluation.diverged must be 'survivors' or 'zero', got 'drop'."),
        ("evaluation.batch_size", 0, "evaluation.batch_size must be >= 1, got 0."),
        (
            "sweep.name",
            "../x",
            "sweep.name must be letters, digits and . _ + - only, a letter or digit first, got '../x'.",
        ),
        ("sweep.name", "x" * 81, f"sweep.name must be at most 80 characters long, got '{'x' * 81}'."),
        (
            "sweep.device",
            "tpu",
            "sweep.device must be auto, cpu or cuda (which ones: hydra.launcher.gpus=[0,1]), got 'tpu'.",
        ),
        ("sweep.threads", 0, "sweep.threads must be >= 1, got 0."),
    ],
)
def test_a_wrong_value_is_refused_with_key_value_and_what_is_allowed(compose, key, value, message):
    with pytest.raises(ConfigError) as refused:
        validate_config(_with(compose(), key, value))
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["+schedule.cycles=3"],
            "schedule.cycles is not a key. Allowed: schedule.iterations, schedule.epochs, schedule.batch_size, "
            "schedule.devices, schedule.lr, schedule.warmup, schedule.decay, schedule.weight_decay, "
            "schedule.clip_norm, schedule.amp.",
        ),
        (
            ["noise.when=eval", "noise.schedule.start=3"],
            "noise.schedule has no effect with noise.when=eval: it is the strength over the training. "
            "Leave it out, or choose noise.when=train or always.",
        ),
        (
            ["noise.when=eval", "noise.shared=true"],
            "noise.shared=true has no effect with noise.when=eval: an evaluation draws for each image by itself, "
            "so that no result depends on the batch. Leave noise.shared at false.",
        ),
        (
            ["noise.schedule.shape=linear", "noise.schedule.full=9", "noise.schedule.stop=5"],
            "noise.schedule.full must be <= noise.schedule.stop=5, got 9: the full strength would never be reached.",
        ),
        (
            ["noise.schedule.shape=linear", "noise.schedule.full=9", "schedule.iterations=8"],
            "noise.schedule.full must be <= schedule.iterations=8, got 9: the full strength would never be reached.",
        ),
        (
            ["schedule.iterations=3", "schedule.epochs=2"],
            "schedule.iterations=3 and schedule.epochs=2 both set the length. Give one of them.",
        ),
        (["+noise.sigm=3"], "noise.sigm is not a key. Did you mean noise.sigma?"),
        (["+noise.schedule.strt=3"], "noise.schedule.strt is not a key. Did you mean noise.schedule.start?"),
        (["+dataset.test_json=x"], "dataset.test_json is not a key. Did you mean dataset.test_size?"),
        (["+seeds=3"], "seeds is not a key. Did you mean seed?"),
        (["~seed"], "seed is missing. Add to the command: +seed=..."),
        (["~noise.schedule.start"], "noise.schedule.start is missing. Add to the command: +noise.schedule.start=..."),
        (["~dataset.type"], "dataset.type is missing. Add to the command: +dataset.type=..."),
        (
            ["dataset=coco_json", "dataset.train_json=x", "dataset.test_json=x"],
            "dataset.train_images must be given. Add to the command: dataset.train_images=...",
        ),
        (
            ["dataset=coco_json", "dataset.train_json=x", "dataset.train_images=x", "dataset.test_json=x"],
            "dataset.test_images must be given. Add to the command: dataset.test_images=..., or dataset.test_share=0.2 "
            "to split dataset.train_json.",
        ),
        (
            [
                *("dataset=coco_json", "dataset.train_json=x", "dataset.train_images=x", "dataset.test_json=y"),
                "dataset.test_share=0.2",
            ],
            "dataset.test_share=0.2 splits dataset.train_json, and dataset.test_json=y is given too; keep one.",
        ),
        (
            ["dataset=registered", "dataset.train_name=x"],
            "dataset.test_name must be given. Add to the command: dataset.test_name=..., or dataset.test_share=0.2 to "
            "split dataset.train_name.",
        ),
        (
            ["dataset=registered", "dataset.train_name=x", "dataset.test_share=1.0", "dataset.draw_seed=-1"],
            "dataset.draw_seed must be >= 0, got -1.\ndataset.test_share must be < 1, got 1.0.",
        ),
        (
            ["noise=uniform", "noise.sigma=0.1", "noise.params.half_width=0.2"],
            "noise.sigma=0.1 and noise.params.half_width=0.2 are both given; keep one.",
        ),
        (["noise=uniform"], "uniform needs a strength, got none. Give noise.sigma or noise.params.half_width."),
        (
            ["noise=mixstyle", "noise.when=always"],
            "noise.type=mixstyle mixes the images of a batch, so its result in evaluation would depend on the batch "
            "size; noise.when must be train, got always.",
        ),
        (
            ["noise.schedule.shape=linear", "noise.schedule.start=9", "noise.schedule.full=3"],
            "noise.schedule.full must be after noise.schedule.start=9, got 3.",
        ),
        (
            ["noise.schedule.start=9", "noise.schedule.stop=9"],
            "noise.schedule.stop must be after noise.schedule.start=9, got 9.",
        ),
        (
            ["noise=quantization", "noise.schedule.shape=linear"],
            "noise.schedule.shape must be constant for quantization: its strength follows from the features. Use "
            "noise.schedule.start and noise.schedule.stop, or noise.probability.",
        ),
        (
            ["noise.schedule.start=9", "schedule.iterations=9"],
            "noise.schedule.start must be < schedule.iterations=9, got 9: the noise would never act.",
        ),
        (
            ["noise=dsu", "schedule.batch_size=1"],
            "schedule.batch_size must be >= 2 for noise.type=dsu, got 1: it is made of differences between the images "
            "of a batch.",
        ),
        (
            ["+model.overrides.MODEL.WEIGHTS=x.pth"],
            "model.overrides.MODEL.WEIGHTS has no effect: use model.weights. Leave it out.",
        ),
        (
            ["+model.overrides.TEST.AUG.ENABLED=true"],
            "model.overrides.TEST.AUG.ENABLED has no effect: test-time augmentation is not supported. Leave it out.",
        ),
        (["seed=-1", "noise.sigma=-1"], "noise.sigma must be >= 0, got -1.0.\nseed must be >= 0, got -1."),
    ],
)
def test_a_contradiction_is_refused(compose, overrides, message):
    with pytest.raises(ConfigError) as refused:
        validate_config(compose(*overrides))
    assert str(refused.value) == message


WRONG = ("x", "", [], ["x"], [None], [[]], [1.5], [-1], [float("nan")], {}, {"a": 1}, None, True, 1.5, 0, -1, 10**30)
WRONG = (*WRONG, float("nan"), float("inf"), -0.5)
WORDS_OF_PYDANTIC = ("Input should", "validation error", "[type=", "Value error", "should have", "after validation")


def _keys(composed, above=""):
    for name, value in composed.items():
        yield f"{above}{name}"
        if isinstance(value, dict):
            yield from _keys(value, f"{above}{name}.")


def _every_key():
    for options in ([], *([option, *NEEDS[option]] for option in NEEDS if option.startswith("dataset="))):
        for key in _keys(_composed(*options)):
            if not options or key.startswith("dataset"):
                yield pytest.param(options, key, id=" ".join([*options[:1], key]))


@pytest.mark.parametrize(("options", "key"), _every_key())
def test_a_value_of_any_wrong_kind_is_refused_by_its_key_in_our_words(compose, options, key):
    refusals = 0
    for value in WRONG:
        try:
            validate_config(_with(compose(*options), key, value))
        except ConfigError as refused:
            message = str(refused)
            assert key in message
            assert not [words for words in WORDS_OF_PYDANTIC if words in message], message
            refusals += 1
    assert refusals > len(WRONG) / 2


LISTS = {
    "evaluation.severities": ([], "must be a list with at least one value, got []."),
    "evaluation.noise_grid.levels": (
        ["p2"],
        "must be a list of 'all' and of lists of levels, such as [all,[p2],[p3,p4]]",
    ),
    "evaluation.noise_grid.sigmas": ([0.1, 0.1], "must be distinct, got [0.1, 0.1]: each counts once."),
    "evaluation.noise_grid.types": (["gausian"], "gausian' is not a noise type."),
    "evaluation.noise_grid.draws": (10**9, "must be <= 1000"),
    "evaluation.corruptions": (["all"], "'all' is not a corruption. Write evaluation.corruptions=all."),
}


@pytest.mark.parametrize("key", LISTS)
def test_a_list_says_what_it_may_hold(compose, key):
    value, message = LISTS[key]
    with pytest.raises(ConfigError) as refused:
        validate_config(_with(compose(), key, value))
    assert message in str(refused.value)


@pytest.mark.parametrize("schedule", REPLACED_KEYS)
def test_an_override_that_the_schedule_replaces_is_refused_and_honoured_without_it(compose, schedule):
    value = {"decay": "step", "amp": True}.get(schedule, 4)
    for key in REPLACED_KEYS[schedule]:
        override = f"+model.overrides.{key}=1"
        validate_config(compose(override))
        with pytest.raises(ConfigError, match=f"{key} has no effect with schedule.{schedule}=.*Keep one of them"):
            validate_config(compose(override, f"schedule.{schedule}={value}"))


@pytest.mark.parametrize(
    "key",
    [
        *("SEED", "OUTPUT_DIR", "DATASETS.TRAIN", "MODEL.DEVICE", "MODEL.WEIGHTS", "MODEL.LOAD_PROPOSALS"),
        *("MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS", "SOLVER.CHECKPOINT_PERIOD", "SOLVER.REFERENCE_WORLD_SIZE"),
        *("TEST.EVAL_PERIOD", "TEST.EXPECTED_RESULTS", "TEST.AUG.FLIP", "CUDNN_BENCHMARK", "DATALOADER.NUM_WORKERS"),
        *("train.output_dir", "train.ddp.broadcast_buffers", "train.log_period", "train.model_ema.enabled"),
        *("dataloader.train.shuffle", "dataloader.test.batch_size", "dataloader.evaluator.tasks", "model.num_classes"),
    ],
)
def test_a_key_of_detectron2_that_is_not_read_is_refused(compose, key):
    with pytest.raises(ConfigError, match=rf"^model\.overrides\.{key} has no effect: .* Leave it out\.$"):
        validate_config(compose(f"+model.overrides.{key}=1"))


def test_an_address_that_the_users_modules_may_know_is_left_to_them(compose):
    with pytest.raises(ConfigError, match=r"model\.weights must be a file or an address that detectron2 knows"):
        validate_config(compose("model.weights=s3://bucket/w.pth"))
    assert validate_config(compose("model.weights=s3://bucket/w.pth", "model.imports=[mine]"))


def test_a_changed_copy_computes_its_noise_anew(compose):
    config = validate_config(compose("noise.sigma=0.5", "evaluation.noise_grid.sigmas=[0.1]"))
    assert config.noise.built.sigma == 0.5
    assert config.noise.model_copy(update={"sigma": 0.25}).built.sigma == 0.25
    assert config.noise.model_copy(update={"sigma": 0.0}).built is None
    grid = config.evaluation.noise_grid
    assert grid.cells is grid.cells
    assert [cell.sigma for cell in grid.model_copy(update={"sigmas": [0.2, 0.3]}).cells] == [0.2, 0.3]


def test_an_unknown_noise_type_is_refused_with_those_that_exist(compose):
    with pytest.raises(ConfigError, match=r"^noise\.type: 'gausian' is not a noise type\. Available: .*, gaussian, "):
        validate_config(compose("noise.type=gausian"))


def test_sigma_zero_acts_in_no_phase(compose):
    config = validate_config(compose("noise.sigma=0", "noise.when=always")).noise
    assert config.built is None and not config.acts("train") and not config.acts("eval")


def test_flattened_gives_dotted_keys_and_keeps_lists():
    assert flatten({"a": {"b": 1, "c": {"d": [1, 2]}}, "e": {}}) == {"a.b": 1, "a.c.d": [1, 2]}


def test_the_hint_compares_last_parts_only():
    allowed = ["hydra.launcher.gpus", "hydra.launcher.workers"]
    assert did_you_mean("hydra.launcher.gpu", allowed) == "Did you mean hydra.launcher.gpus?"
    assert did_you_mean("hydra.launcher.x", allowed) == "Allowed: hydra.launcher.gpus, hydra.launcher.workers."
