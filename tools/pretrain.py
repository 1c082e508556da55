"""Train the built-in checkpoint `ablation/models/zoo/tiny_mask_rcnn.safetensors` on generated glyphs.

The glyphs share neither classes nor looks with the data set of the demo, so the demo starts from this checkpoint
as one starts from COCO weights on data of one's own. Run it with `make pretrain`; the same seed and number of
threads give the same weights. Took 16 minutes on one busy core.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import build_detection_test_loader, build_detection_train_loader
from detectron2.data.datasets import register_coco_instances
from detectron2.evaluation import COCOEvaluator, inference_on_dataset
from detectron2.modeling import build_model
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import EventStorage
from fvcore.nn.precise_bn import update_bn_stats
from safetensors.torch import save_file
from torch import Tensor, nn

from ablation.data.shapes.appearance import OUTLINES
from ablation.data.shapes.generate import ShapesSpec, generate

ZOO = Path(__file__).parents[1] / "ablation" / "models" / "zoo"
TRAIN, TEST = "pretrain_glyphs_train", "pretrain_glyphs_test"
BATCH_SIZE = 8
PEAK_LR = 1.5e-3
WEIGHT_DECAY = 0.05
CLIP_NORM = 5.0
PRECISE_BN_BATCHES = 40
LOG_PERIOD = 25
# What a new set of classes needs afresh. The box and mask regressors are class-agnostic and stay.
CLASS_SPECIFIC = ("roi_heads.box_predictor.cls_score.",)


def main() -> None:
    """Generate, train, evaluate and write, as the command line says."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(1)
    logging.getLogger("detectron2").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        spec = ShapesSpec(seed=arguments.seed, train_images=arguments.images, test_images=200, style="glyphs")
        print(f"Generating {spec.train_images} images below {folder}", flush=True)
        generate(spec, folder)
        cfg = _config(folder, arguments.seed)
        seed_all_rng(arguments.seed)
        model = train(cfg, arguments.iterations)
        write(model, arguments.output)
        print(f"Wrote {arguments.output}, {arguments.output.stat().st_size / 1e6:.2f} MB", flush=True)
        _print_ap(cfg, model)


def train(cfg: CfgNode, iterations: int) -> nn.Module:
    """Train from scratch with AdamW at a one-cycle rate, then measure the BatchNorm statistics anew."""
    model = build_model(cfg)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LR, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LR, total_steps=iterations, pct_start=0.15)
    batches = iter(build_detection_train_loader(cfg))
    model.train()
    start = time.monotonic()
    with EventStorage():
        for iteration in range(1, iterations + 1):
            losses = _step(model, next(batches), optimizer)
            schedule.step()
            if iteration % LOG_PERIOD == 0 or iteration == iterations:
                _print_progress(iteration, iterations, losses, time.monotonic() - start)
        # The running averages lag behind the weights, and the fine-tuning freezes them for good.
        update_bn_stats(model, batches, PRECISE_BN_BATCHES)
    return model


def write(model: nn.Module, path: Path) -> None:
    """Write the weights in half precision under detectron2's names, without the class-specific layers."""
    kept = {
        name: tensor.detach().half().contiguous()
        for name, tensor in model.state_dict().items()
        if not name.startswith(CLASS_SPECIFIC) and not name.endswith("num_batches_tracked")
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(kept, path, metadata={"format": "pt", "trained_on": "ablation glyphs"})


def _step(model: nn.Module, batch: list[dict[str, Any]], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    losses: dict[str, Tensor] = model(batch)
    optimizer.zero_grad()
    torch.stack(list(losses.values())).sum().backward()
    nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
    optimizer.step()
    return losses


def _config(folder: Path, seed: int) -> CfgNode:
    cfg = get_cfg()
    cfg.merge_from_file(str(ZOO / "tiny_mask_rcnn.yaml"))
    for name, split in ((TRAIN, "train"), (TEST, "test")):
        register_coco_instances(name, {}, str(folder / f"{split}.json"), str(folder / split))
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (TRAIN,), (TEST,)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    # Only fine-tuning freezes the statistics; from scratch BatchNorm learns fastest, given enough images per batch.
    cfg.MODEL.RESNETS.NORM = "BN"
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = len(OUTLINES["glyphs"])
    cfg.SOLVER.IMS_PER_BATCH = BATCH_SIZE
    cfg.SEED = seed
    cfg.freeze()
    return cfg


def _print_progress(iteration: int, iterations: int, losses: dict[str, Tensor], seconds: float) -> None:
    parts = "  ".join(f"{name} {value.item():.3f}" for name, value in losses.items())
    left = seconds / iteration * (iterations - iteration)
    print(f"{iteration:5d}/{iterations}  {seconds:5.0f} s, {left:5.0f} s left  {parts}", flush=True)


def _print_ap(cfg: CfgNode, model: nn.Module) -> None:
    evaluator = COCOEvaluator(TEST, output_dir=None, use_fast_impl=False)
    results = inference_on_dataset(model, build_detection_test_loader(cfg, TEST), evaluator)
    print(f"On 200 unseen glyph images: box AP {results['bbox']['AP']:.1f}, mask AP {results['segm']['AP']:.1f}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ZOO / "tiny_mask_rcnn.safetensors")
    parser.add_argument("--folder", type=Path, help="where to put the glyphs; by default a temporary folder")
    parser.add_argument("--iterations", type=int, default=2800)
    parser.add_argument("--images", type=int, default=4000, help="training images to generate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    return parser.parse_args()


if __name__ == "__main__":
    main()
