"""``python -m mm_infobatch`` is ``mm-infobatch``."""

from .cli import main

if __name__ == '__main__':
    main()
