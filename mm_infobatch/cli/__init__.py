"""The command ``mm-infobatch``: one module per subcommand, and what they share."""

from .command import main, parse_args

__all__ = ['main', 'parse_args']
