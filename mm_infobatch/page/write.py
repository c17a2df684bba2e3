"""Fills the page's template and writes the file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

from .gallery import Gallery
from .run_facts import RunFacts, side_by_side
from .sample_table import ClassRow
from .scan import class_name

FOLDER = Path(__file__).parent


@dataclass
class SampleSection:
    """What the page shows of the samples of a run.

    Attributes:
        label: The name of the run.
        scores: The figure of the scores over passes, as JSON.
        source: The checkpoint that the rest is from.
        notes: What is missing and why, a sentence each.
        hard_easy: The figure of means against spreads, as JSON.
        classes: The table of classes.
        classes_about: What it counts, a sentence.
        names: The names of the classes.
        galleries: The lists of the gallery.
        files: Names of the files beside the page with all samples.
        csv: The same table as the address of a download, for small datasets.
        num_samples: N.
        passes: How many passes were completed; None if not tracked.
    """

    label: str
    scores: Optional[str] = None
    source: str = ''
    notes: List[str] = field(default_factory=list)
    hard_easy: Optional[str] = None
    classes: List[ClassRow] = field(default_factory=list)
    classes_about: str = ''
    names: List[str] = field(default_factory=list)
    galleries: List[Gallery] = field(default_factory=list)
    files: List[str] = field(default_factory=list)
    csv: str = ''
    num_samples: int = 0
    passes: Optional[int] = None


def json_in_html(text: str) -> str:
    """JSON that may stand in a ``<script>``: nothing in it can end the element or begin another.

    In JSON these characters occur in strings only, where the escapes mean the same.
    """
    for character in '<>&\u2028\u2029':
        text = text.replace(character, f'\\u{ord(character):04x}')
    return text


def gallery_classes(section: SampleSection) -> List[Tuple[int, str]]:
    """Number and name of each class that occurs in the galleries of a run."""
    numbers = {
        number
        for gallery in section.galleries
        for card in [*gallery.top, *gallery.by_class]
        for number in card.classes
    }
    return [(number, class_name(number, section.names)) for number in sorted(numbers)]


def render(
    runs: Sequence[RunFacts], sections: Sequence[SampleSection], curves: str, written: str
) -> str:
    """The page as text.

    Args:
        runs (list[RunFacts]): The runs.
        sections (list[SampleSection]): The samples of those that have a state.
        curves (str): The figure of the curves, as JSON.
        written (str): When the page was made.
    """
    import jinja2
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['json'] = lambda text: Markup(json_in_html(text))
    environment.globals['gallery_classes'] = gallery_classes
    settings = side_by_side([run.settings for run in runs])
    return environment.get_template('page.html.j2').render(
        runs=runs,
        sections=sections,
        numbers=side_by_side([run.numbers for run in runs]),
        differences=[row for row in settings if row[2]] if len(runs) > 1 else [],
        settings=settings,
        curves=curves,
        written=written,
        css=Markup((FOLDER / 'page.css').read_text()),
        script=Markup((FOLDER / 'page.js').read_text()),
        plotly=Markup(get_plotlyjs()),
    )
