"""OpenMMLab's ``tools/test.py``: the same as ``mm-infobatch test``."""

import sys

from mm_infobatch.cli import main

if __name__ == '__main__':
    main(['test', *sys.argv[1:]])
