"""Write a page to look inside runs: numbers, curves, scores, classes, images, all in one file.

It opens in any browser, without a network. The curves need only the logs of a work directory, of
any run of MMEngine. Scores of samples are read from the latest checkpoint of a run with InfoBatch,
or from the given one, and images through the training dataset of the config that MMEngine has
written into the work directory. The table of all samples is written beside the page, as CSV and
Parquet.
"""

import argparse
import re
import time
from pathlib import Path
from typing import List, Optional

from mmengine.config import Config

from ..page import figures, sample_files, write
from ..page.sample_table import SampleTable
from ..page.section import Limits, sample_section
from . import run_logs
from .common import ConfigOptions, UsageError, check_checkpoint, check_directory
from .logged_run import LoggedRun
from .resume import check_complete
from .run_files import checkpoint_for, dataset_config, own_config, read_table
from .run_numbers import difference, run_facts


def require_libraries(fiftyone: bool) -> None:
    """Check that the libraries can be imported that only this subcommand needs.

    Args:
        fiftyone (bool): Whether FiftyOne is one of them.

    Raises:
        UsageError: If one cannot.
    """
    packages = "plotly jinja2 'pyarrow<26'"  # 26 needs NumPy 2, which torch 2.1 does not support
    try:
        import jinja2  # noqa: F401
        import plotly  # noqa: F401
        import pyarrow  # noqa: F401

        if fiftyone:
            packages = 'fiftyone'
            import fiftyone as _  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f'a library that inspect needs is missing ({error}): pip install {packages}'
        ) from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    run_logs.add_arguments(parser)
    parser.add_argument(
        '--checkpoint',
        nargs='+',
        type=Path,
        default=[],
        help='checkpoint of a run, in its work directory; may also stand behind WORK_DIR (default: '
        'the latest one)',
    )
    parser.add_argument(
        '--config', help='config with the training dataset (default: the one in the work directory)'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='override settings of the config, as in train_dataloader.dataset.data_root=FOLDER',
    )
    parser.add_argument(
        '--out', type=Path, help='file to write (default: inspect.html in the first WORK_DIR)'
    )
    parser.add_argument(
        '--images', type=int, default=36, metavar='N', help='images in a list (default: 36)'
    )
    parser.add_argument(
        '--label-maps',
        type=int,
        default=1000,
        metavar='N',
        help='label maps that are read for the table of classes (default: 1000)',
    )
    parser.add_argument(
        '--fiftyone', action='store_true', help='also write a dataset of FiftyOne for each run'
    )


def split_paths(args: argparse.Namespace) -> None:
    """Move the checkpoints among the work directories to ``args.checkpoint``, in place."""
    files = [path for path in args.work_dirs if path.is_file() or path.suffix == '.pth']
    args.work_dirs = [path for path in args.work_dirs if path not in files]
    args.checkpoint = [*files, *args.checkpoint]
    if not args.work_dirs:
        raise UsageError('there is no work directory: inspect WORK_DIR [CHECKPOINT]')
    for path in args.checkpoint:
        check_checkpoint(str(path))
        check_complete(str(path))


def check_arguments(args: argparse.Namespace) -> Path:
    """Check the arguments; checkpoints among the work directories move to ``args.checkpoint``.

    Returns:
        Path: The file to write.

    Raises:
        UsageError: If an argument is wrong, or with several work directories a checkpoint lies in
            none of them.
    """
    for option in ('images', 'label_maps'):
        if getattr(args, option) < 0:
            raise UsageError(
                f'--{option.replace("_", "-")} {getattr(args, option)}: has to be 0 or more'
            )
    split_paths(args)
    folders = {path.resolve() for path in args.work_dirs}
    for path in args.checkpoint:
        if len(folders) > 1 and not folders & set(path.resolve().parents):
            raise UsageError(
                f'checkpoint {str(path)!r} lies in none of the work directories, so it is not '
                'known of which run it is: give its work directory alone'
            )
    out: Path = args.out or args.work_dirs[0] / 'inspect.html'
    if out.is_dir():
        raise UsageError(f'--out {str(out)!r} is a directory: give the name of a file')
    check_directory(str(out.parent), '--out')
    return out


def file_name(label: str) -> str:
    """A label as a part of a file name, which has at most 255 bytes."""
    name = re.sub(r'[^\w.-]+', '_', label).encode()[:100].decode(errors='ignore')
    return name.strip('._') or 'run'


def notes_on_checkpoint(
    run: LoggedRun, path: Optional[Path], table: Optional[SampleTable], iters: int
) -> List[str]:
    """Notes for the page if a checkpoint has no samples, or those of another run.

    Args:
        run (LoggedRun): The run.
        path (Path, optional): Its checkpoint.
        table (SampleTable, optional): What the checkpoint knows of each sample.
        iters (int): The iterations that were done when it was written.
    """
    if path is None or table is None:
        why = f'{path.name} has no state of InfoBatch' if path else 'there is no checkpoint'
        return [f'images and scores of samples are missing, as {why}']
    logged = max(run.iterations, run.train[-1]['iter'])
    if iters <= logged:
        return []
    return [
        f'{path.name} is of iteration {iters:,}, but the logs end at {logged:,}: it is of an '
        'earlier run in this work directory, and so are the samples below'
    ]


def main(args: argparse.Namespace) -> None:
    """Write the page, and the tables of all samples beside it."""
    try:
        write_page(args)
    except OSError as error:  # a full disk, a read-only file
        reason = ' '.join(str(error).split())
        raise UsageError(
            f'the page or its tables cannot be written ({reason}): give another --out'
        ) from error


def write_page(args: argparse.Namespace) -> None:
    """Write the page, and the tables of all samples beside it.

    Raises:
        UsageError: If an argument is wrong, or a run cannot be read.
        OSError: If a file cannot be written.
    """
    require_libraries(args.fiftyone)
    out = check_arguments(args)
    runs, labels = run_logs.read_runs(args)
    facts, sections = [], []
    out.parent.mkdir(parents=True, exist_ok=True)
    for number, (work_dir, run, label) in enumerate(zip(args.work_dirs, runs, labels)):
        cfg, why = dataset_config(work_dir, args)
        trained_with = own_config(work_dir)[0] or cfg
        facts.append(run_facts(run, label, number, work_dir, trained_with, args.metric))
        if number:
            facts[-1].numbers[f'against {labels[0]}'] = difference(run, runs[0], args.metric)
        path = checkpoint_for(work_dir, args, Config(dict(cfg or {}, work_dir=str(work_dir))))
        table, iters = (None, 0) if path is None else read_table(path)
        facts[-1].notes += notes_on_checkpoint(run, path, table, iters)
        if table is not None or run.infobatch is not None:
            place = f'{number + 1}_' if len(runs) > 1 else ''
            stem = out.with_name(f'{out.stem}_{place}{file_name(label)}_samples')
            limits = Limits(args.images, args.label_maps)
            sections.append(sample_section(facts[-1], table, cfg, why, stem, limits))
            sections[-1].source = path.name if path and table is not None else ''
    text = write.render(facts, sections, figures.curves(facts), time.strftime('%Y-%m-%d %H:%M'))
    out.write_text(text, encoding='utf-8', errors='backslashreplace')
    print(f'wrote {out} ({len(text) / 1e6:.1f} MB)')
    for section in sections:
        for name in section.files:
            print(f'wrote {out.with_name(name)}')
        if args.fiftyone and section.files:
            write_fiftyone(out.with_name(section.files[1]), f'infobatch {section.label}')


def write_fiftyone(path: Path, name: str) -> None:
    """Write a dataset of FiftyOne from the table of all samples.

    Raises:
        UsageError: If it cannot be written.
    """
    try:
        count = sample_files.write_fiftyone(path, name)
    except ValueError as error:
        raise UsageError(f'--fiftyone: {error}') from error
    print(f'wrote {count:,} samples to the FiftyOne dataset {name!r}')
