"""Settings of the documentation site, which ``make docs`` builds into ``docs/_build``."""

import re
from typing import Any, List

from mm_infobatch import __version__

project = 'mm_infobatch'
author = 'mm_infobatch developers'
release = version = __version__
html_title = f'mm_infobatch {release}'
html_theme = 'furo'
extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']
exclude_patterns = ['_build']
suppress_warnings = ['myst.header']  # tables of docs/overhead.md have headings of their own
myst_heading_anchors = 4
# Google docstrings on the class, as everywhere in OpenMMLab.
napoleon_numpy_docstring = False
napoleon_use_rtype = False
autodoc_class_signature = 'mixed'
autodoc_typehints = 'none'
autodoc_member_order = 'bysource'


def without_links_out_of_docs(app: Any, name: str, source: List[str]) -> None:
    """Leave the text of links to files of the repository, which are not part of the site."""
    source[0] = re.sub(r'(?<!!)\[([^\]]+)\]\(\.\./[^)]*\)', r'\1', source[0])


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect('source-read', without_links_out_of_docs)
