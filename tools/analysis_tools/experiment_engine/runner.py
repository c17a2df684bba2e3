"""Trains the runs of an experiment that are missing, and writes their records."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Dict, List, Optional, Set, Tuple

import torch

from mm_infobatch.cli.run_logs import read_run
from mm_infobatch.cli.summarize import format_duration

from . import ROOT
from .jobs import Job, Places, command_of, sources_without_checkpoints, status
from .records import make_record

PROGRESS = re.compile(r'(?:Iter|Epoch)\(train\).*?eta: (?:\d+ days?, )?[\d:]+')
PAUSE = 0.5  # between two looks at the runs, in seconds


def revision() -> Tuple[str, bool]:
    """The commit of the code, and whether files that runs depend on differ from it."""
    git = ['git', '-C', str(ROOT)]
    watched = ['mm_infobatch', 'tools', 'configs', 'projects', 'experiments']
    try:
        commit, changes = (
            subprocess.check_output([*git, *each], text=True, stderr=subprocess.DEVNULL).strip()
            for each in (['rev-parse', 'HEAD'], ['status', '--porcelain', '--', *watched])
        )
    except (OSError, subprocess.CalledProcessError):
        return 'unknown', False
    return commit, bool(changes)


def start(
    command: List[str], environment: Dict[str, str], output: Path
) -> 'subprocess.Popen[bytes]':
    """Start a run in a process group of its own, so that one with workers is ended as one."""
    with output.open('a') as file:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


class Running:
    """A run in progress.

    Args:
        job (Job): Which.
        places (Places): Where it trains.
        slot (int): Its place among those side by side: selects GPUs and port.
        side_by_side (int): How many there are.
        port (int): Where the processes of the run in slot 0 meet.
        python (str): The interpreter.
    """

    def __init__(
        self, job: Job, places: Places, slot: int, side_by_side: int, port: int, python: str
    ) -> None:
        self.job, self.slot = job, slot
        self.work_dir = places.work_dir(job)
        self.work_dir.mkdir(parents=True, exist_ok=True)
        self.output = self.work_dir / 'output.txt'
        note = self.work_dir / 'run.json'
        self.resumed = note.is_file()
        self.note = (
            json.loads(note.read_text())
            if self.resumed
            else dict(places.settings(job), extra=places.cfg_options or [], starts=[])
        )
        environment = dict(os.environ, PYTHON=python, PORT=str(port + slot))
        environment['PYTHONPATH'] = os.pathsep.join(
            [str(ROOT), *filter(None, [environment.get('PYTHONPATH')])]
        )
        gpus, count = self.note['gpus'], torch.cuda.device_count()
        if gpus <= count:
            first = slot % max(count // gpus, 1) * gpus
            visible = os.environ.get('CUDA_VISIBLE_DEVICES')
            names = visible.split(',') if visible else [str(each) for each in range(count)]
            environment['CUDA_VISIBLE_DEVICES'] = ','.join(names[first : first + gpus])
        commit, changed = revision()
        self.began = time.time()
        self.note['starts'].append(
            dict(
                revision=commit,
                changed=changed,
                resumed=self.resumed,
                side_by_side=side_by_side,
                threads=environment.get('OMP_NUM_THREADS'),
                devices=min(count, gpus),
                began=datetime.now(timezone.utc).isoformat(timespec='seconds'),
                seconds=None,
                status=None,
            )
        )
        self._write()
        command = command_of(job, places, self.resumed, python)
        self.process = start(command, environment, self.output)

    def _write(self) -> None:
        part = self.work_dir / 'run.json.part'
        part.write_text(json.dumps(self.note, indent=1) + '\n')
        os.replace(part, self.work_dir / 'run.json')

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return time.time() - self.began

    def poll(self) -> Optional[int]:
        """The exit status, None while it runs."""
        found = self.process.poll()
        if found is not None:
            self.note['starts'][-1].update(status=found, seconds=round(self.seconds, 1))
            self._write()
        return found

    def stop(self) -> None:
        """End it; it can be resumed."""
        try:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(20)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.poll()

    def progress(self) -> str:
        """Where it is and how long it has left, as far as its log says."""
        found = PROGRESS.findall(self.output.read_text(errors='replace'))
        return f'{self.job.name} {" ".join(found[-1].split()) if found else "starting"}'

    def ending(self) -> str:
        """The last lines of its output."""
        lines = self.output.read_text(errors='replace').splitlines()[-15:]
        return f'{self.output} ends with\n' + '\n'.join(f'    {line}' for line in lines)


def keep(job: Job, places: Places) -> Path:
    """Write the record of a run that has ended.

    Raises:
        ValueError: If its logs do not reach the end, or lack the validation there, or what is no
            record is in the way.
    """
    work_dir, record = places.work_dir(job), places.record(job)
    run = read_run(work_dir)
    if run.unfinished is not None:
        raise ValueError(f'{work_dir} has ended, but {run.unfinished}')
    if not run.metrics or run.metrics[-1]['iter'] < run.iterations:
        raise ValueError(
            f'{work_dir} has ended, but has no validation after its last iteration, which gives '
            'the result. Resume it with tools/train.py CONFIG --resume, which makes up for it'
        )
    make_record(work_dir, record, with_losses=job.arm.keep_checkpoints)
    return record


def states_of(jobs: List[Job], places: Places) -> List[Tuple[Job, str]]:
    """Where runs stand, see :func:`status`. One whose checkpoints another one waits for is to train
    again, though it has a record."""
    states = [(job, status(job, places)) for job in jobs]
    again = {
        source.name
        for job, state in states
        if state.startswith('waits')
        for source in sources_without_checkpoints(job, places)
    }
    return [
        (job, status(job, places, True) if job.name in again else state) for job, state in states
    ]


def run_all(
    jobs: List[Job],
    places: Places,
    side_by_side: int = 1,
    every: float = 30.0,
    port: int = 29500,
    python: str = sys.executable,
) -> int:
    """Train what is missing, resume what was interrupted, and write the records.

    Args:
        jobs (list[Job]): Which runs.
        places (Places): Where they train.
        side_by_side (int): How many at once. Defaults to 1.
        every (float): Seconds between two lines on the progress. Defaults to 30.
        port (int): Where the processes of the first run meet. Defaults to 29500.
        python (str): The interpreter. Defaults to this one.

    Returns:
        int: 0, or 1 if a run failed or could not be started.
    """
    failed: Set[str] = set()
    running: List[Running] = []
    shown = time.time()

    def fail(job: Job, why: object) -> None:
        say(f'{job.name}: {why}')
        failed.add(job.name)

    def advance(job: Job, state: str) -> None:
        if state == 'finished':
            try:
                say(f'{job.name}: record in {keep(job, places)}')
            except (ValueError, OSError) as error:
                fail(job, error)
        elif state.startswith('differs'):
            fail(job, f'{state}. Remove it, or change the experiment file back')
        elif state in ('missing', 'interrupted') and len(running) < side_by_side:
            slot = min(set(range(side_by_side)) - {one.slot for one in running})
            running.append(Running(job, places, slot, side_by_side, port, python))
            verb = 'resumed' if running[-1].resumed else 'started'
            say(f'{job.name}: {verb} in {running[-1].work_dir}')

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        while True:
            for one in list(running):
                code = one.poll()
                if code is not None:
                    running.remove(one)
                if code == 0:
                    say(f'{one.job.name}: done in {format_duration(one.seconds)}')
                elif code is not None:
                    fail(one.job, f'ended with status {code}; {one.ending()}')
            busy = failed | {one.job.name for one in running}
            states = states_of([job for job in jobs if job.name not in busy], places)
            for job, state in states:
                advance(job, state)
            waiting = [each for each in states if each[1].startswith('waits')]
            done = [each for each in states if each[1] == 'done']
            if not running and len(failed) + len(waiting) + len(done) == len(jobs):
                break
            if running and time.time() - shown >= every:
                shown = time.time()
                where = '; '.join(one.progress() for one in running)
                say(f'[{len(done)}/{len(jobs)}] {where}')
            time.sleep(PAUSE if running else 0)
    except BaseException:
        for one in running:
            one.stop()
        if running:
            say('stopped; the same command resumes the runs')
        raise
    for job, state in waiting:
        say(f'{job.name}: {state}')
    say(
        f'{len(done)} of {len(jobs)} runs have a record'
        + (f'; failed: {", ".join(sorted(failed))}' if failed else '')
    )
    return int(bool(failed or waiting))


def say(text: str) -> None:
    """Print a line with the time of day."""
    print(f'{datetime.now():%H:%M:%S} {text}', flush=True)
