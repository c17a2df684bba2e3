"""Writes the tables of the documents from the records and the package.

A document has places like::

    <!-- experiment: camvid -->
    <!-- end of table -->

and what stands between the two lines is written anew, by the kind of the place:

- ``experiment: NAME``: the table of that experiment, see ``tables.text``;
- ``settings: NAME, NAME, ...; ARM, ...``: what pruned arms of experiments lose (all of them, or
  those named after the semicolon), see ``settings_table.py``;
- ``shares: NAME, NAME, ...``: the methods of experiments by the share that they skip, see
  ``share_table.py``;
- ``experiments: planned`` or ``run``: the list of experiments;
- ``sweep: records/sweep/...``: the tables of ``sweep_configs.py``;
- ``changed_labels: FILE``: that of ``find_changed_labels.py``;
- ``repeatability: records/score_repeatability``: that of ``score_repeatability.py``;
- ``faults: records/faults``: those of ``pytest --faults-record``;
- ``policies: records/policies/...``: those of ``compare_policies.py``;
- ``overhead: records/overhead/...``: those of ``benchmark_overhead.py``;
- ``modules: mm_infobatch``: the map of ``modules.py`` of that package.
"""

import json
import re
from pathlib import Path
from typing import Any, Callable, Dict, List

from . import (
    ROOT,
    measurements,
    modules,
    overhead_tables,
    settings_table,
    share_table,
    static_scores,
    tables,
)

DOCUMENTS = [
    ROOT / 'README.md',
    ROOT / 'CONTRIBUTING.md',
    ROOT / 'experiments' / 'README.md',
    *sorted((ROOT / 'docs').glob('*.md')),
]


def _of_file(write: Callable[[Any], str]) -> Callable[[str, Path], str]:
    """What a place has that names a JSON file."""

    def text(settings: str, root: Path) -> str:
        path = root / settings
        if not path.is_file():
            raise ValueError(f'{settings}: there is no such file')
        return write(json.loads(path.read_text()))

    return text


KINDS: Dict[str, Callable[[str, Path], str]] = dict(
    experiment=tables.text,
    experiments=tables.overview,
    settings=settings_table.text,
    shares=share_table.text,
    sweep=_of_file(measurements.sweep),
    policies=_of_file(measurements.policies),
    changed_labels=_of_file(measurements.changed_labels),
    scores=_of_file(static_scores.text),
    overhead=_of_file(overhead_tables.text),
    modules=lambda settings, root: modules.module_map(root / settings),
    faults=lambda settings, root: measurements.faults(root / settings),
    repeatability=lambda settings, root: measurements.repeatability(root / settings),
)
PLACE = re.compile(
    rf'(<!-- ({"|".join(KINDS)}): ([^\n]+?) -->\n).*?(<!-- end of table -->)', re.DOTALL
)


def render(text: str, root: Path = ROOT) -> str:
    """Fill the places of a document.

    Args:
        text (str): The document.
        root (Path): Where the records' paths begin. Defaults to the repository.

    Returns:
        str: The document with its tables up to date.

    Raises:
        ValueError: If a place is not written as above, or a record cannot be read.
    """

    def fill(match: 're.Match[str]') -> str:
        begin, kind, settings, end = match.groups()
        return f'{begin}{KINDS[kind](settings, root)}\n{end}'

    return PLACE.sub(fill, text)


def update(documents: List[Path], check: bool) -> List[str]:
    """Write the tables of documents.

    Args:
        documents (list[Path]): Which.
        check (bool): Whether to write nothing, and only tell.

    Returns:
        list[str]: The names of the documents that changed, or that would.

    Raises:
        ValueError: If a table cannot be written, with the name of its document.
    """
    stale = []
    for document in documents:
        old = document.read_text()
        try:
            new = render(old)
        except (ValueError, OSError) as error:
            raise ValueError(f'{document.name}: {error}') from error
        if old != new:
            stale.append(document.name)
            if not check:
                document.write_text(new)
    return stale
