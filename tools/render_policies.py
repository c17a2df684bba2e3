"""Write the tables of docs/policies.md from the committed records.

A place in the document looks like::

    <!-- policies: records/policies/lenet5_fashion-mnist.json -->
    <!-- end of policies -->

and what stands between the two lines is what ``compare_policies.py`` printed (a ``.json`` file), or
the table of ``study_stability.py`` (a ``.jsonl`` file). With ``--check`` nothing is written, and a
document that differs is an error.
"""
import argparse
import json
import re
import sys
from pathlib import Path
from typing import List, Optional

import compare_policies
import study_stability

ROOT = Path(__file__).resolve().parent.parent
PLACE = re.compile(r'(<!-- policies: (\S+) -->\n).*?(<!-- end of policies -->)', re.DOTALL)


def content(path: Path) -> str:
    """The tables of a record.

    Raises:
        ValueError: If there is no such record.
    """
    if not path.is_file():
        raise ValueError(f'there is no record {path}')
    if path.suffix == '.jsonl':
        return study_stability.table(study_stability.read(path))
    return compare_policies.text(json.loads(path.read_text()))


def render(text: str, root: Path) -> str:
    """The document with its tables up to date."""
    return PLACE.sub(
        lambda match: f'{match.group(1)}{content(root / match.group(2))}\n{match.group(3)}', text)


def main(argv: Optional[List[str]] = None) -> None:
    """Render or check the documents."""
    parser = argparse.ArgumentParser(description='Write the tables of docs/policies.md')
    parser.add_argument('documents', nargs='*', type=Path,
                        default=[ROOT / 'docs' / 'policies.md'])
    parser.add_argument('--check', action='store_true', help='only tell whether they are current')
    args = parser.parse_args(argv)
    for document in args.documents:
        old = document.read_text()
        try:
            new = render(old, ROOT)
        except ValueError as error:
            sys.exit(f'render_policies.py: error: {document.name}: {error}')
        if args.check and old != new:
            sys.exit(f'render_policies.py: error: a table of {document.name} is not what the '
                     'records say: run tools/render_policies.py')
        if not args.check:
            document.write_text(new)


if __name__ == '__main__':
    main()
