"""Command `python -m ablation.preview`: show what a noise does to one image: its features, detections and SNR.

torch, detectron2 and matplotlib are imported inside functions: `--help` answers at once, and so does a refusal.
"""

from __future__ import annotations

import argparse
import logging
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablation.config.compose import compose_config
from ablation.records.streams import tolerate_closed_output

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.table import Table

    from ablation.config.schemas import RunConfig
    from ablation.preview.compare import LevelView

_EPILOG = """examples:
  python -m ablation.preview noise=gaussian noise.sigma=0.25
  python -m ablation.preview --image street.jpg noise=dropblock noise.sigma=0.5 'noise.levels=[p2,p3]'
  python -m ablation.preview experiment=cct_f_drop model.weights=sweeps/<name>/trainings/<id>/model.safetensors

The noise acts as in evaluation, always and at full strength: noise.when, noise.probability and noise.schedule
change nothing here. Any override of `python -m ablation.run` works, except a sweep of several values."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the figure and print the SNR of each level; a user's mistake ends in one message and status 1."""
    with tolerate_closed_output():
        options = _parser().parse_intermixed_args(arguments)
        from ablation.config.messages import exit_on_user_error

        with exit_on_user_error():
            preview(options.overrides, image=options.image, out=options.out, min_score=options.score)


def preview(
    overrides: Sequence[str], *, image: Path | None = None, out: Path | None = None, min_score: float = 0.5
) -> Path:
    """Run the model on one image with and without the noise, and return the path of the figure.

    Args:
        overrides: As for `python -m ablation.run`.
        image: A file; by default the first test image that has objects.
        out: A folder; by default <sweep.root>/preview/<run id>.
        min_score: Detections below are not drawn, 0 to 1.

    Raises:
        AblationError: The configuration, its noise or the image cannot be shown.
    """
    from rich.console import Console

    from ablation.data.build import build_dataset
    from ablation.records.errors import ConfigError
    from ablation.sweep.identity import identify

    config = with_noise_in_evaluation(compose_config(overrides))
    dataset = build_dataset(config.dataset)
    dataset.survey()
    folder = out or Path(config.sweep.root) / "preview" / identify(config, dataset).run_id
    # What torch says about detectron2's code: no user of a preview can fix that.
    warnings.filterwarnings("ignore", message=r".*torch\.jit\.script.*", category=FutureWarning)
    warnings.filterwarnings("ignore", message=r"torch\.meshgrid", category=UserWarning)
    logging.getLogger("torch.fx").setLevel(logging.ERROR)
    from ablation.preview.compare import observe
    from ablation.preview.figure import figure, render

    observation = observe(config, dataset, image)
    noise: Any = config.noise.built
    pixels = render(figure(observation, _heading(config, observation.name), noise.formula, min_score))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"--out must be a folder that can be made, got {folder}: {error.strerror}. Give another one."
        ) from error
    path = _write(pixels, folder, Path(observation.name).stem)
    console = Console()
    console.print(snr_table(observation.comparison.levels))
    for line in (f"Figure: {path}", f"TensorBoard: tensorboard --logdir {folder}"):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return path


def with_noise_in_evaluation(config: RunConfig) -> RunConfig:
    """Return the configuration with its noise in every evaluation pass.

    Raises:
        ConfigError: There is no noise, or it is of a type that one image cannot have.
    """
    from ablation.records.errors import ConfigError

    noise, built = config.noise, config.noise.built
    if built is None:
        reason = "noise.type is none" if noise.type == "none" else f"noise={noise.type} has a strength of 0"
        raise ConfigError(f"There is no noise to show: {reason}. Choose one, such as noise=gaussian noise.sigma=0.25")
    if built.needs_batch:
        raise ConfigError(
            f"noise={noise.type} is made of differences between the images of a batch, and a preview shows one "
            "image. Choose another type; the telemetry of a training holds the SNR of this one."
        )
    return config.model_copy(update={"noise": noise.model_copy(update={"when": "eval", "probability": 1.0})})


def snr_table(levels: Sequence[LevelView]) -> Table:
    """Tabulate the telemetry of each level: rms in feature units, sigma as the realised noise-to-signal ratio."""
    from rich import box
    from rich.table import Table

    from ablation.preview.figure import format_decibels

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for name in ("level", "calls", "signal rms", "noise rms", "sigma", "SNR dB"):
        table.add_column(name, justify="left" if name == "level" else "right")
    for view in levels:
        measured = view.telemetry
        numbers = (measured.signal_rms, measured.noise_rms, measured.sigma)
        snr = "-" if measured.snr_db is None else format_decibels(measured.snr_db)
        table.add_row(view.level, str(measured.calls), *("-" if n is None else f"{n:.4g}" for n in numbers), snr)
    return table


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ablation.preview",
        description="Show what a noise does to one image: its features level by level, its detections, its SNR.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as for python -m ablation.run")
    parser.add_argument("--image", type=Path, help="image file (default: the first test image that has objects)")
    parser.add_argument("--out", type=Path, help="folder to write (default: <sweep.root>/preview/<run id>)")
    parser.add_argument("--score", type=_score, default=0.5, help="draw detections from this score on (default: 0.5)")
    return parser


def _score(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, got {text!r}")
    return value


def _heading(config: RunConfig, image: str) -> str:
    noise = config.noise
    parameters = {"sigma": noise.sigma} | noise.params
    values = " ".join(f"{key} {value:g}" for key, value in parameters.items() if isinstance(value, int | float))
    axes = (noise.granularity, "shared" if noise.shared else None, noise.scale if noise.scale != "relative" else None)
    to = f"{noise.destination} only" if noise.destination != "both" else None
    return ", ".join([f"{noise.type} {values}".strip(), *filter(None, (*axes, to)), config.model.name, image])


def _write(pixels: NDArray[np.uint8], folder: Path, name: str) -> Path:
    """Write the figure as PNG and for TensorBoard, and return the path of the PNG."""
    from PIL import Image
    from torch.utils.tensorboard import SummaryWriter

    from ablation.records.atomic import replacing

    path = folder / f"{name}.png"
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG", optimize=True)
    with SummaryWriter(str(folder)) as writer:
        writer.add_image(f"preview/{name}", pixels, dataformats="HWC")
    return path


if __name__ == "__main__":
    main()
