"""The same as ``mm-infobatch convert``."""

import sys

from mm_infobatch.cli import main

if __name__ == '__main__':
    main(['convert', *sys.argv[1:]])
