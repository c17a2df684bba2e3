"""The cards of the gallery: image, label map, label, score and path of a sample."""

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Sequence

import numpy as np

from .dataset_reader import (
    class_names,
    ignored_label,
    info_if_any,
    labels_of,
    palette_of,
    path_of,
    read_image,
    read_label_map,
)
from .lists import SampleList
from .sample_table import SampleTable
from .scan import class_name
from .thumbnails import data_uri, overlay, shrink

SIZE = 112  # pixels of the longer side


@dataclass
class Card:
    """A sample in the gallery.

    Attributes:
        index: Its index into the outermost dataset.
        classes: The classes that occur in it.
        label: Their names, for classification.
        path: The path of its image, '' if it has none.
        images: The texts of its images: itself, and with the label map laid over.
        tiny: Whether the image is small, so that its pixels are shown as they are.
        problem: Why it has no image or no label map, '' if it has.
        values: Its row of the table, by the names of the columns.
    """

    index: int
    classes: List[int] = field(default_factory=list)
    label: str = ''
    path: str = ''
    images: List[str] = field(default_factory=list)
    tiny: bool = False
    problem: str = ''
    values: Dict[str, float] = field(default_factory=dict)


@dataclass
class Gallery:
    """A list of the gallery, with its cards.

    Attributes:
        title: Its heading.
        about: What it holds, a sentence.
        top: The first cards of all.
        by_class: More cards, that its filter by class shows.
    """

    title: str
    about: str
    top: List[Card]
    by_class: List[Card]

    @property
    def wide(self) -> bool:
        """bool: Whether a card has two images."""
        return any(len(card.images) > 1 for card in self.top)


class CardMaker:
    """Makes the card of a sample, once.

    Args:
        dataset (Dataset, optional): The outermost dataset; None if it cannot be built.
        table (SampleTable): Of all samples.
        bgr (bool): See :func:`~.dataset_reader.read_image`. Defaults to True.
    """

    def __init__(self, dataset: Any, table: SampleTable, bgr: bool = True) -> None:
        self._dataset, self._columns, self._bgr = dataset, table.columns(), bgr
        self._cards: Dict[int, Card] = {}
        self.names: List[str] = [] if dataset is None else class_names(dataset)
        self._palette: Optional[np.ndarray] = None

    def __call__(self, index: int) -> Card:
        """The card of a sample."""
        if index not in self._cards:
            card = Card(index)
            card.values = {
                name: float(values[index])
                for name, values in self._columns.items()
                if np.isfinite(values[index])
            }
            if self._dataset is not None:
                self._fill(card)
            self._cards[index] = card
        return self._cards[index]

    def _fill(self, card: Card) -> None:
        segmentation = False
        try:
            info = info_if_any(self._dataset, card.index) or {}
            segmentation = 'seg_map_path' in info and 'gt_label' not in info
            card.path = path_of(info)
            card.classes = labels_of(info)
            card.label = ', '.join(class_name(label, self.names) for label in card.classes)
            image = read_image(self._dataset, card.index, self._bgr)
            small = shrink(image, SIZE)
            card.tiny = max(image.shape[:2]) <= SIZE // 2
            card.images.append(data_uri(small))
            if segmentation:
                self._lay_over(card, small)
        except ValueError as error:
            card.problem = str(error)

    def _lay_over(self, card: Card, small: np.ndarray) -> None:
        labels = read_label_map(self._dataset, card.index)
        if self._palette is None:
            self._palette = palette_of(self._dataset, max(len(self.names), 1))
        count = len(self.names)
        ignored = ignored_label(self._dataset, card.index)
        if ignored is not None:
            labels = np.where(labels == ignored, -1, labels.astype(np.int64))
        card.classes = [int(label) for label in np.unique(labels) if 0 <= label < count]
        card.images.append(data_uri(overlay(small, labels, self._palette[:count])))


def make_galleries(lists: Sequence[SampleList], make: CardMaker) -> List[Gallery]:
    """Make the cards of all lists."""
    return [
        Gallery(
            each.title,
            each.about,
            [make(int(index)) for index in each.top],
            [make(int(index)) for index in each.by_class],
        )
        for each in lists
    ]
