"""Write the tables of the documents from the committed records and the package.

A document has places like::

    <!-- experiment: camvid -->
    <!-- end of table -->

and what stands between the two lines is written anew, by the kind of the place:

- ``experiment: NAME``: the table of ``_results.py`` of that experiment; ``experiment: NAME,
  figures`` has its figures too, ``experiment: NAME, short`` fewer columns;
- ``sweep: records/sweep/onedl.json``: what ``sweep_configs.py`` makes of that file;
- ``faults: records/faults``: the table of ``_faults.py``;
- ``policies: records/policies/...``: the tables of ``compare_policies.py`` or of
  ``study_stability.py`` (there ``, Table 3`` or ``, Table 4`` for the paper's);
- ``overhead: records/overhead/...``: those of ``benchmark_overhead.py``;
- ``modules: mm_infobatch``: the map of ``_modules.py`` of that package.

With ``--check`` nothing is written, and a document that differs is an error.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Callable, Dict, List, Optional

import _overhead
import _results
import compare_policies
import study_stability
from _faults import faults_table
from _modules import module_map
from sweep_configs import markdown

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').glob('*.md'))]
PLACE = re.compile(
    r'(<!-- (sweep|faults|policies|overhead|experiment|modules): ([^\n]+?) -->\n).*?'
    r'(<!-- end of table -->)',
    re.DOTALL,
)


def sweep_tables(settings: str, root: Path) -> str:
    """The tables of the sweep that a place names."""
    path = root / settings
    if not path.is_file():
        raise ValueError(f'{settings}: there is no such file; write it with sweep_configs.py')
    return markdown(json.loads(path.read_text()))


def policies_tables(settings: str, root: Path) -> str:
    """The tables of ``compare_policies.py`` (.json) or of ``study_stability.py`` (.jsonl)."""
    name, _, which = settings.partition(', ')
    path = root / name
    if not path.is_file():
        raise ValueError(f'{name}: there is no such file')
    if path.suffix == '.jsonl':
        if which and which not in study_stability.TABLES:
            raise ValueError(
                f'policies: {settings}: {which!r} is none of {", ".join(study_stability.TABLES)}'
            )
        return study_stability.table(study_stability.read(path), study_stability.TABLES.get(which))
    return compare_policies.text(json.loads(path.read_text()))


def overhead_tables(settings: str, root: Path) -> str:
    """The tables of ``benchmark_overhead.py``."""
    path = root / settings
    if not path.is_file():
        raise ValueError(f'{settings}: there is no such file; write it with benchmark_overhead.py')
    return _overhead.text(json.loads(path.read_text()))


KINDS: Dict[str, Callable[[str, Path], str]] = dict(
    sweep=sweep_tables,
    faults=lambda settings, root: faults_table(root / settings),
    policies=policies_tables,
    overhead=overhead_tables,
    experiment=_results.text,
    modules=lambda settings, root: module_map(root / settings),
)


def render(text: str, root: Path) -> str:
    """Fill the places of a document.

    Args:
        text (str): The document.
        root (Path): Where the records' paths begin.

    Returns:
        str: The document with its tables up to date.

    Raises:
        ValueError: If a place is not written as above, or a record cannot be read.
    """

    def fill(match: 're.Match[str]') -> str:
        begin, kind, settings, end = match.groups()
        return f'{begin}{KINDS[kind](settings, root)}\n{end}'

    return PLACE.sub(fill, text)


def main(argv: Optional[List[str]] = None) -> None:
    """Render or check the documents."""
    parser = argparse.ArgumentParser(description='Write the tables of the documents')
    parser.add_argument('documents', nargs='*', type=Path, default=DOCUMENTS)
    parser.add_argument('--check', action='store_true', help='only tell whether they are current')
    args = parser.parse_args(argv)
    for document in args.documents:
        try:
            old = document.read_text()
            new = render(old, ROOT)
        except (ValueError, OSError) as error:
            sys.exit(f'render_docs.py: error: {document.name}: {error}')
        if args.check and old != new:
            sys.exit(
                f'render_docs.py: error: a table of {document.name} is not what the records '
                'say: run tools/render_docs.py'
            )
        if not args.check:
            document.write_text(new)


if __name__ == '__main__':
    main()
