"""From the `dataset` group of the configuration to a data set."""

from __future__ import annotations

from ablation.config.dataset import DatasetConfig
from ablation.data.coco_format import Coco, CocoJson
from ablation.data.dataset import Dataset, OpenSplits
from ablation.data.registered import Registered
from ablation.data.shapes.dataset import Shapes

# The values of `dataset.type`.
KINDS: dict[str, type[Dataset]] = {"shapes": Shapes, "coco": Coco, "coco_json": CocoJson, "registered": Registered}


def build_dataset(config: DatasetConfig) -> Dataset:
    """Return the data set of a configuration. Its files are read when they are needed, once each."""
    return DatasetCache().build(config)


class DatasetCache:
    """The data sets of a command: a grid of 1,000 cells usually has one, and reads its files once.

    Data sets that take different parts of the same files share what was read of them. A file that changes while the
    command runs is not noticed; the next command, with a cache of its own, reads it again.
    """

    def __init__(self) -> None:
        self._datasets: dict[str, Dataset] = {}
        self._opened: OpenSplits = {}

    def build(self, config: DatasetConfig) -> Dataset:
        """Return the data set of a configuration, the same object for an equal configuration."""
        key = config.model_dump_json()
        if key not in self._datasets:
            self._datasets[key] = KINDS[config.type](config, self._opened)
        return self._datasets[key]
