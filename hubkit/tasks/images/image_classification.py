"""An image to one of some labels, or to all labels that hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from hubkit.bases.load import load_image_processor
from hubkit.tasks.columns import Column, label, label_list
from hubkit.tasks.images.picture import Picture, given_picture, picture, require_pillow
from hubkit.tasks.rows import Rows
from hubkit.tasks.task import LENGTHS, Encoded, HeadPlan
from hubkit.tasks.text_classification import Classification
from registry.manifest import TextInfo
from registry.task_types import TASK_NAMES


class ImageClassification(Classification[BaseImageProcessor]):
    """Each output of the head stands for a label, as in text classification.

    An image is a path, in a file relative to the file's folder; an image of Pillow; or one of an
    Image column of ``datasets``. Each is read once to check it, and again when its batch comes, so
    that a data set need not fit into memory. The base model's own image processor turns it into
    numbers.
    """

    names = TASK_NAMES["image-classification"]
    columns = (
        Column("image", picture, given=given_picture, path=True),
        Column("label", label, target=True, instead="labels"),
        Column("labels", label_list, target=True, instead="label"),
    )
    example = "image,label\npictures/one.png,cat\npictures/two.png,dog\n"

    def load_processor(self, base: str, model: PreTrainedModel) -> BaseImageProcessor:
        """The image processor of the base model."""
        require_pillow()
        return load_image_processor(base, model)

    def prepare(
        self, processor: BaseImageProcessor, model: PreTrainedModel, plan: HeadPlan, info: TextInfo
    ) -> None:
        """Images all have the size that the model takes: nothing is padded."""

    def text_info(
        self, processor: BaseImageProcessor, model: PreTrainedModel, asked: TextInfo, rows: Rows
    ) -> TextInfo:
        """There is no text."""
        return TextInfo()

    def probe(self, lengths: Sequence[int] = LENGTHS) -> Rows:
        """Images of noise, which differ."""
        image = require_pillow()
        draw = np.random.default_rng(0)
        pixels = [draw.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in lengths]
        return Rows("probe", {"image": [image.fromarray(one) for one in pixels]})

    def encode(
        self, processor: BaseImageProcessor, rows: Rows, plan: HeadPlan, text: TextInfo
    ) -> Encoded:
        """A feature for each row: where its image is. ``labels`` is as in text classification."""
        pictures = [asdict(picture(one)) for one in rows["image"]]
        features: dict[str, list[Any]] = {"pixel_values": pictures}
        if "label" in rows or "labels" in rows:
            features["labels"] = self.target_ids(rows, plan)
        return Encoded(features, range(len(rows)))

    def collator(self, processor: BaseImageProcessor, model: PreTrainedModel) -> Any:
        """Batches that read their images."""
        return _Collator(processor, model)


@dataclass(frozen=True)
class _Collator:
    """Images to numbers, as the base model's image processor does it.

    Attributes:
        processor: The image processor.
        model: The base model, whose dtype the numbers get.
    """

    processor: BaseImageProcessor
    model: PreTrainedModel

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """*Shape:* ``(images, channels, height, width)``."""
        images = [Picture(**one["pixel_values"]).open() for one in features]
        pixels: Tensor = self.processor(images=images, return_tensors="pt")["pixel_values"]
        batch = {"pixel_values": pixels.to(self.model.dtype)}
        if "labels" in features[0]:
            batch["labels"] = torch.tensor([one["labels"] for one in features])
        return batch


IMAGE_CLASSIFICATION = ImageClassification()
