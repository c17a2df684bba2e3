"""OpenMMLab's ``tools/train.py``: the same as ``mm-infobatch train``."""

import sys

from mm_infobatch.cli import main

if __name__ == '__main__':
    main(['train', *sys.argv[1:]])
