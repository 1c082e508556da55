"""Every model of detectron2's zoo: its levels are found, and noise reaches them in training and in inference."""

import re
from pathlib import Path

import detectron2
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.structures import BitMasks, Boxes, Instances, Keypoints
from detectron2.utils.events import EventStorage
from safetensors.torch import save_file

from ablation.config.model import ModelConfig
from ablation.config.schemas import validate_config
from ablation.data.loaders import register
from ablation.execute import execute
from ablation.models import yacs
from ablation.models.build import build_detector, probe_model
from ablation.models.hooks import find_levels
from ablation.models.injection import Injection
from ablation.models.locate import config_file, model_fingerprint
from ablation.records.errors import ConfigError, RunError
from ablation.records.schema import Status

ZOO = Path(detectron2.__file__).parent / "model_zoo" / "configs"
CONFIGS = sorted(str(path.relative_to(ZOO)) for path in ZOO.glob("*/*.yaml"))
COMPILED = [name for name in CONFIGS if "dconv" in name]

# One of each family, narrow enough for a step on a CPU core.
FAMILIES = {
    "faster_rcnn": "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml",
    "faster_rcnn_c4": "COCO-Detection/faster_rcnn_R_50_C4_1x.yaml",
    "faster_rcnn_dc5": "COCO-Detection/faster_rcnn_R_50_DC5_1x.yaml",
    "retinanet": "COCO-Detection/retinanet_R_50_FPN_1x.yaml",
    "rpn": "COCO-Detection/rpn_R_50_FPN_1x.yaml",
    "mask_rcnn": "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml",
    "mask_rcnn_c4": "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x.yaml",
    "cascade_mask_rcnn": "Misc/cascade_mask_rcnn_R_50_FPN_1x.yaml",
    "keypoint_rcnn": "COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x.yaml",
    "panoptic_fpn": "COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.yaml",
    "semantic_fpn": "Misc/semantic_R_50_FPN_1x.yaml",
}
NARROW = {
    "MODEL.DEVICE": "cpu",
    "MODEL.RESNETS.WIDTH_PER_GROUP": 4,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 4,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 8,
    "MODEL.FPN.OUT_CHANNELS": 8,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 8,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 8,
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 50,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 20,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 50,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 20,
}


def _group(config):
    return ModelConfig(name="x", config=config, weights="", allow_pickle=False, imports=[], overrides={})


@pytest.mark.parametrize("config", [name for name in CONFIGS if name not in COMPILED])
def test_every_config_of_the_zoo_is_built_and_has_its_levels(config):
    levels = probe_model(_group(config).model_dump()).levels
    is_pyramid = "C4" not in config and "DC5" not in config
    outputs = ("p3", "p4", "p5", "p6", "p7") if "retinanet" in config else ("p2", "p3", "p4", "p5", "p6")
    assert levels.outputs == (outputs if is_pyramid else ("res4",) if "C4" in config else ("res5",))
    assert set(levels.stages) >= {"res2", "res3", "res4"}


@pytest.mark.parametrize("config", COMPILED)
def test_a_config_that_needs_a_compiled_detectron2_says_so(config):
    if hasattr(detectron2, "_C"):
        pytest.skip("this detectron2 is compiled")
    with pytest.raises(ConfigError, match=r"detectron2 cannot build this model: .*DeformConv"):
        probe_model(_group(config).model_dump())


def _images(cfg):
    """Two images with one object each, with everything that some family's training asks for."""
    images = []
    for number in range(2):
        instances = Instances((64, 64))
        instances.gt_boxes = Boxes(torch.tensor([[8.0, 8.0, 48.0, 40.0]]))
        instances.gt_classes = torch.tensor([0])
        mask = torch.zeros(1, 64, 64, dtype=torch.bool)
        mask[:, 8:40, 8:48] = True
        instances.gt_masks = BitMasks(mask)
        points = torch.tensor([[[20.0, 20.0, 2.0]] * cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS])
        instances.gt_keypoints = Keypoints(points)
        pixels = torch.randint(256, (3, 64, 64), generator=torch.Generator().manual_seed(number))
        image = {"image": pixels, "instances": instances, "height": 64, "width": 64, "image_id": number}
        images.append({**image, "sem_seg": torch.zeros(64, 64, dtype=torch.long), "proposals": instances})
    return images


@pytest.mark.parametrize("family", FAMILIES)
def test_noise_reaches_training_and_inference_of_every_family(compose, micro, family):
    cfg = yacs.load_config(config_file(FAMILIES[family]), {})
    for key, value in NARROW.items():
        cfg.merge_from_list([key, value])
    cfg.INPUT.MASK_FORMAT = "bitmask"
    torch.manual_seed(0)
    model = yacs.YacsDetector(cfg).build()
    levels = find_levels(model)
    requested = [*levels.outputs, "res2"] if "res2" not in levels.outputs else list(levels.outputs)
    grid = f"noise.levels=[{','.join(requested)}]"
    noise = validate_config(compose(*micro, "noise.sigma=0.5", "noise.when=always", grid)).noise
    images = _images(cfg)
    with EventStorage(0), Injection(model.train(), noise, phase="train") as training:
        losses = model(images)
        sum(losses.values()).backward()
    training.check_applied()
    assert set(training.telemetry()) == set(requested)
    assert all(torch.isfinite(loss) for loss in losses.values())
    with torch.no_grad(), Injection(model.eval(), noise, phase="eval") as inference:
        assert len(model(images)) == 2
    inference.check_applied()
    assert inference.telemetry()["res2"].sigma == pytest.approx(0.5, rel=0.2)


def test_python_code_in_a_users_yaml_is_refused(tmp_path):
    base = ZOO / "COCO-Detection" / "retinanet_R_50_FPN_1x.yaml"
    own = tmp_path / "own.yaml"
    own.write_text(f"_BASE_: {base}\nSEED: 3\n")
    assert yacs.load_config(own, {}).SEED == 3  # the code is in detectron2's own base
    own.write_text("MODEL:\n  X: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ConfigError, match=re.escape(f"{own} holds Python code")):
        yacs.load_config(own, {})
    own.write_text("%TAG !p! tag:yaml.org,2002:python/\n---\nMODEL: !p!object/apply:os.getcwd []\n")
    with pytest.raises(ConfigError, match=r"is no detectron2 config|holds Python code"):
        yacs.load_config(own, {})


VITDET = {
    "model.backbone.net.img_size": 64,
    "model.backbone.net.embed_dim": 16,
    "model.backbone.net.depth": 2,
    "model.backbone.net.num_heads": 2,
    "model.backbone.net.window_size": 2,
    "model.backbone.net.window_block_indexes": [0],
    "model.backbone.square_pad": 64,
    "model.proposal_generator.post_nms_topk": [50, 20],
    "model.roi_heads.box_head.conv_dims": [16],
    "model.roi_heads.box_head.fc_dims": [16],
    "model.roi_heads.box_predictor.input_shape.channels": 16,
    "model.roi_heads.box_predictor.test_topk_per_image": 5,
    "model.roi_heads.mask_head.conv_dims": [16, 16],
    "train.amp.enabled": False,
}
FEW = {key: VITDET[key] for key in VITDET if key.endswith("topk") or key.endswith("topk_per_image")}
UNSIZED = {"dataloader.train.mapper.augmentations": [], "dataloader.test.mapper.augmentations": []}


@pytest.mark.parametrize(
    ("config", "overrides"),
    [
        ("ablation://mask_rcnn_vitdet_b.py", VITDET | UNSIZED),
        ("common/models/retinanet.py", UNSIZED),  # a model alone: the rest is detectron2's usual
        ("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.py", FEW | UNSIZED),
    ],
)
def test_a_lazy_config_trains_a_step_and_infers_with_noise(compose, micro, config, overrides):
    keys = [f"+model.overrides.{key}={value}" for key, value in overrides.items()]
    one = ["schedule.iterations=2", "schedule.batch_size=1", "noise.sigma=0.5", "noise.when=always"]
    composed = compose(*micro, f"model.config={config}", *keys, *one)
    run = validate_config(composed)
    levels = probe_model(run.model.model_dump()).levels
    assert set(levels.outputs) in ({"p2", "p3", "p4", "p5", "p6"}, {"p3", "p4", "p5", "p6", "p7"})
    record = execute(composed | {"evaluation": composed["evaluation"] | {"primary_metric": "bbox/AP"}})
    assert record.status is Status.COMPLETED
    assert set(record.telemetry) == set(levels.outputs)


def test_a_lazy_config_takes_the_schedule(compose, micro, coco_folder, coco_dataset):
    overrides = ["schedule.iterations=50", "schedule.batch_size=32", "schedule.warmup=5", "schedule.decay=cosine"]
    more = ["schedule.weight_decay=0.3", "schedule.clip_norm=1.0", "schedule.amp=true"]
    config = validate_config(
        compose(*micro, "model.config=COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.py", *overrides, *more)
    )
    boxes = coco_folder(images=8, edit=lambda data: [a.pop("segmentation") for a in data["annotations"]])
    detector = build_detector(config, coco_dataset(boxes))
    assert (detector.iterations, detector.loader_config.batch_size, detector.is_amp) == (50, 32, True)
    assert not detector.has_masks
    model = detector.build()
    assert model.roi_heads.num_classes == 2
    optimizer = detector.optimizer(model)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.04)  # 0.02 * 32 / 16
    assert optimizer.param_groups[0]["weight_decay"] == 0.3
    scheduler = detector.scheduler(optimizer)
    rates = []
    for _ in range(50):
        rates.append(optimizer.param_groups[0]["lr"])
        scheduler.step()
    assert max(rates) == rates[5]
    assert rates[-1] < 0.001 * rates[5] * 2


def test_a_lazy_config_that_takes_boxes_from_masks_takes_boxes_alone(compose, micro, coco_folder, coco_dataset):
    folder = coco_folder(edit=lambda data: data["annotations"][1].pop("segmentation"))
    dataset = coco_dataset(folder)
    config = compose(*micro, "model.config=new_baselines/mask_rcnn_R_50_FPN_100ep_LSJ.py")
    detector = build_detector(validate_config(config), dataset)
    name = register(dataset.split("train"))
    instances = detector.mapper(name, augmented=True, annotated=True)(DatasetCatalog.get(name)[0])["instances"]
    assert not detector.has_masks
    assert instances.has("gt_boxes") and not instances.has("gt_masks")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model = 3 +", "is not Python"),
        ("raise OSError('no')", "cannot be loaded: OSError: no"),
        ("train = {}", "defines no `model`"),
    ],
)
def test_a_python_config_that_is_none_says_so(compose, micro, tmp_path, text, message):
    (tmp_path / "own.py").write_text(text + "\n")
    with pytest.raises(ConfigError, match=message):
        run = validate_config(compose(*micro, f"model.config={tmp_path / 'own.py'}"))
        model_fingerprint(run.model)
        probe_model(run.model.model_dump())


def test_the_identity_of_a_lazy_config_covers_what_it_imports(tmp_path, compose, micro):
    (tmp_path / "base.py").write_text("model = dict(a=1)\n")
    (tmp_path / "own.py").write_text("from .base import model\n")
    config = validate_config(compose(*micro, f"model.config={tmp_path / 'own.py'}")).model
    before = model_fingerprint(config)
    (tmp_path / "base.py").write_text("model = dict(a=1111)\n")
    assert model_fingerprint(config) != before


def test_a_users_module_brings_its_own_backbone(tmp_path, monkeypatch, compose, micro):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_backbone.py").write_text(
        "from detectron2.modeling import BACKBONE_REGISTRY\n"
        "from detectron2.modeling.backbone.fpn import build_resnet_fpn_backbone\n"
        "@BACKBONE_REGISTRY.register()\n"
        "def mine(cfg, shape):\n"
        "    return build_resnet_fpn_backbone(cfg, shape)\n"
    )
    named = compose(*micro, "model.imports=[my_backbone]", "+model.overrides.MODEL.BACKBONE.NAME=mine")
    group = validate_config(named).model
    assert probe_model(group.model_dump()).levels.outputs == ("p2", "p3", "p4", "p5", "p6")
    before = model_fingerprint(group)
    with (tmp_path / "my_backbone.py").open("a") as file:
        file.write("# changed\n")
    assert model_fingerprint(group) != before
    with pytest.raises(ConfigError, match=r"model\.imports: there is no module 'nothing_there'"):
        model_fingerprint(group.model_copy(update={"imports": ["nothing_there"]}))


def test_weights_that_fit_nothing_are_refused_when_the_model_is_probed(tmp_path, compose, micro):
    save_file({"x": torch.ones(1)}, tmp_path / "w.safetensors")
    group = validate_config(compose(*micro, f"model.weights={tmp_path / 'w.safetensors'}")).model
    with pytest.raises(RunError, match=r"w\.safetensors fits nothing: 0 of the \d+ parameters of this model"):
        probe_model(group.model_dump())


REFUSED_OVERRIDES = {
    "MODEL.ROI_HEDS.NAME=x": "Non-existent",
    "SOLVER.LR_SCHEDULER_NAME=Foo": "cannot build the optimizer of this model: .*Foo",
    "DATALOADER.SAMPLER_TRAIN=Foo": "SAMPLER_TRAIN must be TrainingSampler or RepeatFactorTrainingSampler, got 'Foo'",
    "DATALOADER.SAMPLER_TRAIN=RepeatFactorTrainingSampler": r"REPEAT_THRESHOLD must be > 0 .* got 0\.0",
}


@pytest.mark.parametrize("override", REFUSED_OVERRIDES)
def test_an_override_that_detectron2_refuses_is_refused_when_the_model_is_probed(compose, micro, override):
    group = validate_config(compose(*micro, f"+model.overrides.{override}")).model
    with pytest.raises(ConfigError, match=REFUSED_OVERRIDES[override]):
        probe_model(group.model_dump())


@pytest.mark.parametrize("key", ["nothing", "optimiser.lr", "model.roi_heads.nothing.x", "optimizer.nothing"])
def test_an_override_that_is_no_part_of_a_lazy_config_is_refused(compose, micro, key):
    overrides = [f"+model.overrides.{name}={value}" for name, value in {**VITDET, key: 1}.items()]
    group = validate_config(compose(*micro, "model.config=ablation://mask_rcnn_vitdet_b.py", *overrides)).model
    with pytest.raises(ConfigError, match=r"is no part of|cannot build the optimizer"):
        probe_model(group.model_dump())
