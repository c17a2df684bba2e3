"""Write a file of scores for the policy FromFile, from the checkpoints of a training.

METHOD CONFIG CHECKPOINT... --out FILE evaluates a classifier of mmpretrain on its training set,
without random augmentation, and writes one number per sample. FromFile keeps the highest (where a
method keeps the lowest value, the number decreases with it). FILE.npz also has the classes, CRAIG's
weights, and whether and for how many samples the method selects per class; FILE.npy has only the
numbers. A .json file beside it says how it was made, and how many seconds that took.

What is extracted from a checkpoint is kept in --work-dir, where all methods read it and an
interrupted call continues; it may be deleted. docs/static_scores.md says which method is for what.

forgetting CHECKPOINT..., without a config, counts in the scores that InfoBatch saved in the
checkpoints of a run: a loss below log 2 always is a correct prediction. This needs a plain
cross-entropy. To have every sample's loss of every pass, train with prune_ratio=0 and one
checkpoint per epoch.
"""

import argparse
import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from ..policies.score_file import write_score_file
from ..scoring.methods import METHODS, Method, Option
from .common import (
    UsageError,
    add_cfg_options,
    add_config_arguments,
    check_checkpoint,
    check_directory,
)
from .computed_scores import scores_of_losses, scores_of_model
from .resume import check_complete


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    kinds = parser.add_subparsers(dest='kind', metavar='METHOD', required=True)
    for name, method in METHODS.items():
        sub = kinds.add_parser(name, help=method.summary, description=method.summary)
        _add_config(sub, name)
        sub.add_argument('checkpoints', nargs='+', type=Path, metavar='checkpoint')
        sub.add_argument('--out', type=Path, required=True, help='the .npz file to write, or .npy')
        sub.add_argument(
            '--work-dir',
            type=Path,
            help='where extractions are kept (default: the directory "extraction" beside --out)',
        )
        sub.add_argument('--batch-size', type=int, default=256, help='default: 256')
        sub.add_argument(
            '--num-workers', type=int, default=0, help='processes that load images (default: 0)'
        )
        sub.add_argument('--seed', type=int, default=0, help='of what is random (default: 0)')
        _add_groups(sub, method)
        sub.set_defaults(deepcore=False, keep=None, count=None)
        if method.selects:
            _add_count(sub, method)
        if method.deepcore:
            sub.add_argument(
                '--deepcore',
                action='store_true',
                help=f'as the code of DeepCore, which {method.deepcore}',
            )
        for option_name, option in method.options.items():
            _add_option(sub, option_name, option)


def _add_config(parser: argparse.ArgumentParser, name: str) -> None:
    if name != 'forgetting':
        add_config_arguments(parser)
        return
    parser.description = (parser.description or '') + (
        '. The first checkpoint may be a config, by which the others are evaluated; without one '
        'the scores that InfoBatch saved in them are counted'
    )
    parser.set_defaults(config=None)
    add_cfg_options(parser)


def _add_groups(parser: argparse.ArgumentParser, method: Method) -> None:
    parser.set_defaults(per_class=bool(method.per_class))
    if method.per_class is None:
        return
    group = parser.add_mutually_exclusive_group()
    for flag, value in (('--per-class', True), ('--over-all', False)):
        text = 'select in each class separately' if value else 'select over all classes'
        text += ' (default)' if value == method.per_class else ''
        group.add_argument(flag, dest='per_class', action='store_const', const=value, help=text)


def _add_count(parser: argparse.ArgumentParser, method: Method) -> None:
    group = parser.add_mutually_exclusive_group(required=method.needs_count)
    more = '' if method.needs_count else '; without it the file has an order of all samples'
    group.add_argument('--keep', type=float, help=f'the share of the samples to choose{more}')
    group.add_argument('--count', type=int, help='the number of samples, instead of --keep')


def _add_option(parser: argparse.ArgumentParser, name: str, option: Option) -> None:
    flag = f'--{name.replace("_", "-")}'
    if option.default is False:
        parser.add_argument(flag, action='store_true', help=option.help)
        return
    parser.add_argument(
        flag,
        type=type(option.default),
        default=option.default,
        choices=option.choices or None,
        help=f'{option.help} (default: {option.default})',
    )


def main(args: argparse.Namespace) -> None:
    """Write the file, and the one beside it that says how it was made."""
    check_directory(str(args.out.parent), '--out')
    _check_numbers(args)
    if args.kind == 'forgetting':
        _take_config(args)
    for path in args.checkpoints:
        check_complete(check_checkpoint(str(path)))
    try:
        compute = scores_of_losses if args.config is None else scores_of_model
        content, note = compute(args)
    except ValueError as error:
        raise UsageError(str(error)) from error
    with _in_one_line(args.out):
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.with_suffix('.json').write_text(json.dumps(note, indent=1) + '\n')
        write_score_file(args.out, content)  # last: a file that exists is of a complete call
    scores, weights = content.scores, content.weights
    print(
        f'{args.out}: {len(scores)} scores from {scores.min():.4g} to {scores.max():.4g}, '
        f'mean {scores.mean():.4g}'
    )
    if weights is not None:  # by which FromFile multiplies the losses, at the same learning rate
        kept = weights[weights > 0]
        print(f'weights of the kept samples: up to {kept.max() / kept.mean():.3g} times their mean')


def _check_numbers(args: argparse.Namespace) -> None:
    """Check the numbers and names that argparse does not check.

    Raises:
        UsageError: If a number is out of range, or no file can have the name.
    """
    least = dict(batch_size=1, num_workers=0, seed=0, count=1, rounds=1, classes=2, swaps=0)
    for name, value in least.items():
        given = getattr(args, name, None)
        if given is not None and not value <= given <= sys.maxsize:
            bound = f'at least {value}' if given < value else f'at most {sys.maxsize}'
            raise UsageError(f'--{name.replace("_", "-")} {given} has to be {bound}; change it')
    if args.keep is not None and not 0 < args.keep <= 1:
        raise UsageError(f'--keep {args.keep} lies outside (0, 1]; give a share such as 0.7')
    for name, option in METHODS[args.kind].options.items():
        given = getattr(args, name)
        if isinstance(option.default, float) and not 1e-8 <= given <= 1e8:
            raise UsageError(
                f'--{name.replace("_", "-")} {given} lies outside [1e-8, 1e8], in which float32 '
                f'can compute: it is {option.help}; give a number such as {option.default:g}'
            )
    with _in_one_line(args.out):
        _check_out(args)


@contextmanager
def _in_one_line(out: Path) -> Iterator[None]:
    """Report that the file of scores cannot be written, such as to a full disk, as a user's error.

    Raises:
        UsageError: If it cannot.
    """
    try:
        yield
    except OSError as error:
        raise UsageError(
            f'--out {out} cannot be written: {error.strerror or error}; give another path'
        ) from error


def _check_out(args: argparse.Namespace) -> None:
    """Check the name of the file of scores, and of the note beside it.

    Raises:
        UsageError: If no file can have the name, or something else has that of the note.
    """
    if args.out.suffix not in ('.npy', '.npz'):
        raise UsageError(f'--out {args.out} has to end in .npz or .npy; change its name')
    if args.out.is_dir():
        raise UsageError(f'--out {args.out} is a directory: give the name of a file')
    whole = args.per_class or METHODS[args.kind].needs_count or args.keep or args.count
    if args.out.suffix == '.npy' and whole:
        raise UsageError(
            f'--out {args.out}: a .npy file has one number per sample, and no room for classes, '
            'weights and the number of samples; give a name that ends in .npz'
        )
    note = args.out.with_suffix('.json')
    if note.exists() and not _is_note(note):
        raise UsageError(
            f'--out {args.out}: how it was made would be written to {note}, which is something '
            'else; give another name'
        )


def _is_note(path: Path) -> bool:
    """Whether an earlier call wrote a file beside its scores."""
    try:
        return 'method' in json.loads(path.read_text())
    except (OSError, ValueError, TypeError):
        return False


def _take_config(args: argparse.Namespace) -> None:
    """Take the config from the list of checkpoints, if it begins with one.

    Raises:
        UsageError: If there is none, but settings of it are to be overridden.
    """
    first = str(args.checkpoints[0])
    if first.endswith(('.py', '.json', '.yaml', '.yml')) or '::' in first:
        args.config, args.checkpoints = first, args.checkpoints[1:]
    elif args.cfg_options:
        raise UsageError(
            '--cfg-options overrides settings of a config, but no config is given; give it before '
            'the checkpoints'
        )
