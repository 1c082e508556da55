"""One split of a data set: its files, and what they hold. No torch.

Reading the annotations of COCO takes 15 s. A `Split` reads each of its files when it is first needed and keeps what it
found, so code that has a `Split` passes it on instead of its paths.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from ablation.data.coco.annotations import AnnotationSummary, read_annotations
from ablation.data.images import ImageScan, scan_images
from ablation.data.semantic import LabelScan, fingerprint_labels, scan_labels

SplitName = Literal["train", "test"]
SPLITS: tuple[SplitName, SplitName] = ("train", "test")


@dataclass(frozen=True)
class Split:
    """A COCO annotation file and the folders that belong to it. Two splits of the same paths are equal.

    Attributes:
        annotations: The JSON file.
        images: Folder that the file names in `annotations` are relative to.
        sem_seg: Folder of the semantic labels, None if there are none.
    """

    annotations: Path
    images: Path
    sem_seg: Path | None = None

    @cached_property
    def summary(self) -> AnnotationSummary:
        """The annotations, checked.

        Raises:
            DataError: The file is not COCO, or an image is missing.
        """
        return read_annotations(self.annotations, self.images)

    @cached_property
    def image_scan(self) -> ImageScan:
        """The headers of the image files, checked; of very many files a sample is read.

        Raises:
            DataError: An image cannot be read, differs in size from its annotation, or has more than 8 bits of grey.
        """
        return scan_images(self.summary.entries, self.images, self.annotations)

    @cached_property
    def label_fingerprint(self) -> str:
        """Hash of the names and sizes in bytes of the semantic label files, of which there must be any.

        Raises:
            DataError: An image has no label file.
        """
        assert self.sem_seg is not None
        return fingerprint_labels(self.summary.entries, self.sem_seg, self.annotations)

    @cached_property
    def label_scan(self) -> LabelScan:
        """The pixel values of the semantic label files, checked; of very many files a sample is read.

        Raises:
            DataError: A label file is missing, unreadable, of another size than its image or not 8-bit grey.
        """
        assert self.sem_seg is not None
        _ = self.label_fingerprint  # refuses missing files
        return scan_labels(self.summary.entries, self.sem_seg, self.annotations)
