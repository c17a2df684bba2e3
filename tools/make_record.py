"""Copy what a run's numbers come from into a small folder that can be committed.

It keeps the scalars, the dumped config, ``infobatch.json``, what ``run_experiment.py`` notes
(``run.json``, ``losses.json``) and the lines of the log that tell progress, without the folders of
files that they name; it leaves out checkpoints, and the log's description of the machine, whose
place takes ``environment.json``: versions, the processor's name and number of cores, and the
accelerators that the run could see.
"""

import argparse
import json
import os
import platform
import re
import shutil
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Dict, List, Optional

import torch

KEPT_LINES = re.compile(r'(Iter|Epoch)\((train|val|test)\)|InfoBatch|GPU number: \d+|[Rr]esumed')
FOLDERS = re.compile(r'(?<!\S)/(?:[^\s/]+/)+')  # of a file, from the root on
SMALL_FILES = ('infobatch.json', 'run.json', 'losses.json')
PACKAGES = ('torch', 'torchvision', 'mmengine', 'mmcv', 'mmsegmentation', 'mmpretrain')


def environment() -> Dict[str, object]:
    """The versions and the processor that a run's times depend on."""
    names = {name for package in PACKAGES for name in (package, f'onedl-{package}')}
    versions = {one.metadata['Name']: one.version for one in distributions()}
    processor = platform.processor() or platform.machine()
    info = Path('/proc/cpuinfo')
    if info.is_file():
        found = re.search(r'^model name\s*:\s*(.+)$', info.read_text(), re.MULTILINE)
        processor = found.group(1) if found else processor
    result: Dict[str, object] = dict(
        python=platform.python_version(),
        packages={name: versions[name] for name in sorted(names & versions.keys())},
        processor=processor,
        cores=os.cpu_count(),
    )
    if torch.cuda.is_available():
        result['accelerators'] = [
            torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())
        ]
    return result


def make_record(work_dir: Path, out: Path) -> List[Path]:
    """Copy the small files of a run.

    Args:
        work_dir (Path): The run's work directory.
        out (Path): Where the record goes; an older one there is replaced.

    Returns:
        list[Path]: The files written.

    Raises:
        ValueError: If the work directory holds no logs, or what is at ``out`` is no older record.
    """
    scalars = sorted(work_dir.glob('*/vis_data/scalars.json'))
    if not scalars:
        raise ValueError(
            f'{str(work_dir)!r} holds no <timestamp>/vis_data/scalars.json; give the '
            'work_dir of a run'
        )
    source, target = work_dir.resolve(), out.resolve()
    if target in (source, *source.parents) or source in target.parents:
        raise ValueError(
            f'{str(out)!r} and the run {str(work_dir)!r} lie in each other; give the '
            'record a directory of its own'
        )
    if out.exists():
        if not out.is_dir() or (any(out.iterdir()) and not (out / 'environment.json').is_file()):
            raise ValueError(
                f'{str(out)!r} is there, but is no record that this tool wrote; give '
                'another directory, or remove it'
            )
        shutil.rmtree(out)
    written = []
    for path in scalars:
        session = path.parent.parent
        (out / session.name / 'vis_data').mkdir(parents=True)
        for name in ('scalars.json', 'config.py'):
            if path.with_name(name).is_file():
                copied = shutil.copy(path.with_name(name), out / session.name / 'vis_data')
                written.append(Path(copied))
        log = session / f'{session.name}.log'
        if log.is_file():
            lines = [
                FOLDERS.sub('', line)
                for line in log.read_text(errors='replace').splitlines()
                if KEPT_LINES.search(line)
            ]
            written.append(out / session.name / log.name)
            written[-1].write_text('\n'.join(lines) + '\n')
    for name in SMALL_FILES:
        if (work_dir / name).is_file():
            written.append(Path(shutil.copy(work_dir / name, out)))
    written.append(out / 'environment.json')
    written[-1].write_text(json.dumps(environment(), indent=1) + '\n')
    return written


def main(argv: Optional[List[str]] = None) -> None:
    """Copy the run that the command line names."""
    parser = argparse.ArgumentParser(description='Keep the small files of a run')
    parser.add_argument('work_dir', type=Path)
    parser.add_argument('out', type=Path, help='for example records/camvid/infobatch_seed0')
    args = parser.parse_args(argv)
    try:
        for path in make_record(args.work_dir, args.out):
            print(path)
    except (ValueError, OSError) as error:
        sys.exit(f'make_record.py: error: {error}')


if __name__ == '__main__':
    main()
