"""A data set: one object for each kind of data, made once from the configuration and passed on. No torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from ablation.data.selection import Selection
from ablation.data.splits import Split, SplitName
from ablation.data.survey import Survey

OpenSplits = dict[Split, Split]


class Dataset(ABC):
    """Knows the files of a data set, their identity and how they are made.

    Attributes:
        config: The `dataset` group of the configuration, of the kind's own schema.
    """

    def __init__(self, config: Any, opened: OpenSplits) -> None:
        """Take the splits that other data sets have opened, so that none of their files is read twice."""
        self.config = config
        self._opened = opened

    @property
    def name(self) -> str:
        """Its name in messages and in the default name of a sweep."""
        return str(self.config.name)

    @abstractmethod
    def fingerprint(self, split: SplitName) -> str:
        """Return what identifies the content of a split, known before `prepare`.

        Raises:
            DataError: The user's files are missing, invalid or hold fewer images than requested.
        """

    @abstractmethod
    def split(self, name: SplitName) -> Split:
        """Return the files of a split, which may exist only after `prepare`."""

    @abstractmethod
    def prepare(self) -> None:
        """Write the files of both splits that do not exist yet. Several processes may do so at once."""

    @property
    def selections(self) -> Mapping[SplitName, Selection]:
        """What each split takes of the user's files, empty if there are no such files."""
        return {}

    def survey(self) -> Survey | None:
        """Check the user's files and summarise them; None if there are no such files.

        Raises:
            DataError: Training or testing on them would fail, or would not do what the configuration says.
        """
        return None

    def find_gap(self, metric: str) -> str:
        """Return why a metric (segm/APl) has no value on the test images; empty if it has one, or that is not known."""
        return ""

    def _open(self, files: Split) -> Split:
        """Return the split that has been opened for these files, if any, for what was read of them."""
        return self._opened.setdefault(files, files)
