"""Make the runs of an experiment (``experiments/NAME.py``) that are missing, and keep records.

A run is trained by ``tools/train.py`` (several processes: through ``dist_train.sh``) in
``work_dirs/NAME/ARM_seedN``. When it has finished, its small files go to ``records/NAME/ARM_seedN``
through ``make_record.py``; a run with a record is done. One that was interrupted is resumed from
its newest whole checkpoint. So the same command, given again, goes on. Nothing is committed.

``--dry-run`` prints the plan with every command and builds every config, model and optimizer; where
the experiment names a drawn set (``ade20k``), it also takes three steps of each arm on files in
that layout, which ``make_segmentation_data.py`` draws, and where these are full steps it tells the
hours of each run.
"""

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from statistics import mean
from typing import List, NamedTuple, Optional, Tuple

import torch
from mmengine.config import Config

from _dry_run import build_config, three_steps
from _experiments import (
    EXPERIMENTS,
    ROOT,
    Arm,
    Experiment,
    arguments,
    depends,
    load_experiment,
    settings,
    totals_of,
)
from _losses import distributions
from make_record import make_record
from mm_infobatch.cli.run_logs import read_run
from mm_infobatch.cli.summarize import duration

ETA = re.compile(
    r'((?:Iter|Epoch)\(train\)\s+(?:\[[^\]]*\]\s*)+).*?eta:\s+((?:\d+ days?, )?[\d:]+)'
)
COMPARED = ('config', 'infobatch', 'options', 'amp')


class Job(NamedTuple):
    """One run: an arm and a seed."""

    arm: Arm
    seed: int

    @property
    def name(self) -> str:
        """What logs call it."""
        return f'{self.arm.owner}/{self.arm.name}_seed{self.seed}'


class Places(NamedTuple):
    """Where runs and records are."""

    work_dirs: Path
    records: Path

    def work_dir(self, job: Job) -> Path:
        """The work directory of a run."""
        return self.work_dirs / job.name

    def record(self, job: Job) -> Path:
        """The record of a run."""
        return job.arm.record(job.seed, self.records)


def jobs_of(experiment: Experiment, wanted: Optional[List[str]] = None) -> List[Job]:
    """The runs of an experiment, all arms of a seed first.

    Args:
        experiment (Experiment): Which.
        wanted (list[str], optional): Names of arms (``infobatch``) or runs (``infobatch_seed0``).

    Raises:
        ValueError: If there is no such arm or run.
    """
    seeds = sorted({seed for arm in experiment.arms for seed in arm.seeds})
    named = [
        (name, Job(arm, seed))
        for seed in seeds
        for name, arm in zip(experiment.names, experiment.arms)
        if seed in arm.seeds
    ]
    if not wanted:
        return [job for _, job in named]
    known = {each for name, job in named for each in (name, f'{name}_seed{job.seed}')}
    unknown = [each for each in wanted if each not in known]
    if unknown:
        raise ValueError(f'--runs {unknown[0]}: is none of {", ".join(sorted(known))}')
    return [job for name, job in named if name in wanted or f'{name}_seed{job.seed}' in wanted]


def status(job: Job, places: Places, gpus: Optional[int] = None) -> str:
    """Where a run stands.

    Returns:
        str: 'done', 'finished' (without a record yet), 'interrupted', 'missing', 'waits for ...',
            or 'differs: ...' where a record or a work directory is of other settings.
    """
    for folder, found in ((places.record(job), 'done'), (places.work_dir(job), 'interrupted')):
        note = folder / 'run.json'
        if found == 'done' and not (folder / 'environment.json').is_file():
            continue
        if not note.is_file():
            if found == 'done':
                return 'done'
            continue
        old = json.loads(note.read_text())
        if depends(job.arm, job.seed, places.records)[1]:
            new = settings(job.arm, job.seed, places.records, gpus)
            different = [key for key in COMPARED if old.get(key) != new[key]]
            if different:
                return f'differs: {", ".join(different)} of {folder} is not what the file says'
        if found == 'interrupted' and any(one['status'] == 0 for one in old['starts']):
            return 'finished'
        return found
    source = job.arm.source
    if source is not None and totals_of(source.record(job.seed, places.records)) is None:
        return f'waits for {source.owner}/{source.name}_seed{job.seed}'
    return 'missing'


def revision() -> Tuple[str, bool]:
    """The commit of the code, and whether files that runs depend on differ from it."""
    git = ['git', '-C', str(ROOT)]
    try:
        commit = subprocess.run(
            git + ['rev-parse', 'HEAD'], capture_output=True, text=True, check=True
        ).stdout.strip()
        changes = subprocess.run(
            git
            + ['status', '--porcelain', '--', 'mm_infobatch', 'tools', 'configs', 'experiments'],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return 'unknown', False
    return commit, bool(changes.strip())


def command_of(job: Job, places: Places, args: argparse.Namespace, resume: bool) -> List[str]:
    """The command of a run, to be started at the root of the repository."""
    run = settings(job.arm, job.seed, places.records, args.gpus)
    rest = arguments(run, str(places.work_dir(job)), resume, args.cfg_options)
    if run['gpus'] > 1:
        return ['bash', 'tools/dist_train.sh', run['config'], str(run['gpus']), *rest]
    return [args.python, 'tools/train.py', run['config'], *rest]


class Running:
    """A run in progress.

    Args:
        job (Job): Which.
        slot (int): Its place among those side by side: selects GPUs and port.
    """

    def __init__(self, job: Job, slot: int, places: Places, args: argparse.Namespace) -> None:
        self.job, self.slot, self.places = job, slot, places
        self.work_dir = places.work_dir(job)
        self.work_dir.mkdir(parents=True, exist_ok=True)
        note = self.work_dir / 'run.json'
        resume = note.is_file()
        command = command_of(job, places, args, resume)
        run = settings(job.arm, job.seed, places.records, args.gpus)
        self.note = (
            json.loads(note.read_text())
            if resume
            else dict(run, extra=args.cfg_options or [], starts=[])
        )
        commit, changed = revision()
        environment = dict(os.environ, PYTHON=args.python, PORT=str(args.port + slot))
        environment['PYTHONPATH'] = os.pathsep.join(
            [str(ROOT), *filter(None, [environment.get('PYTHONPATH')])]
        )
        count = torch.cuda.device_count()
        if count and run['gpus'] <= count:
            free = max(count // run['gpus'], 1)
            first = slot % free * run['gpus']
            visible = os.environ.get('CUDA_VISIBLE_DEVICES')
            names = visible.split(',') if visible else [str(each) for each in range(count)]
            environment['CUDA_VISIBLE_DEVICES'] = ','.join(names[first : first + run['gpus']])
        self.began = time.time()
        self.note['starts'].append(
            dict(
                revision=commit,
                changed=changed,
                resumed=resume,
                side_by_side=args.jobs,
                threads=environment.get('OMP_NUM_THREADS'),
                devices=min(count, run['gpus']),
                began=datetime.now(timezone.utc).isoformat(timespec='seconds'),
                seconds=None,
                status=None,
            )
        )
        self._write()
        self.output = self.work_dir / 'output.txt'
        with self.output.open('a') as file:
            # Its own group, so that a run with workers can be ended as one.
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _write(self) -> None:
        part = self.work_dir / 'run.json.part'
        part.write_text(json.dumps(self.note, indent=1) + '\n')
        os.replace(part, self.work_dir / 'run.json')

    def poll(self) -> Optional[int]:
        """The exit status, None while it runs."""
        found = self.process.poll()
        if found is not None:
            self.note['starts'][-1].update(status=found, seconds=round(self.seconds, 1))
            self._write()
        return found

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return time.time() - self.began

    def stop(self) -> None:
        """End it; it can be resumed."""
        try:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(20)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.poll()

    def progress(self) -> Tuple[str, Optional[float]]:
        """Where it is, and the seconds that are left; None where the log does not say yet."""
        logs = sorted(self.work_dir.glob('*/*.log'))
        if logs and logs[-1].stat().st_mtime >= self.began:
            found = ETA.findall(logs[-1].read_text(errors='replace'))
            if found:
                days, _, clock = found[-1][1].rpartition(', ')
                left = 86400.0 * int(days.split()[0]) if days else 0.0
                for part, unit in zip(reversed(clock.split(':')), (1, 60, 3600)):
                    left += int(part) * unit
                return re.sub(r'\s+', '', found[-1][0]), left
        return 'starting', None


def keep(job: Job, places: Places) -> Path:
    """Write the record of a finished run.

    Raises:
        ValueError: If its logs do not reach the end, or an older record is in the way.
    """
    work_dir, record = places.work_dir(job), places.record(job)
    unfinished = [
        note
        for note in read_run(work_dir).notes
        if note.startswith(('not finished', 'the logs end'))
    ]
    if unfinished:
        raise ValueError(f'{work_dir} has ended, but {unfinished[0]}')
    if job.arm.keep_checkpoints:
        found = distributions(work_dir)
        if found:
            (work_dir / 'losses.json').write_text(json.dumps(found) + '\n')
    part = record.with_name(record.name + '.part')
    make_record(work_dir, part)
    if record.exists():
        raise ValueError(f'{record} is there already; remove it to have it written anew')
    os.replace(part, record)
    return record


def finish(job: Job, places: Places, failed: List[str]) -> None:
    """Write the record of a run, or say why there is none and note it among the failed."""
    try:
        say(f'{job.name}: record in {keep(job, places)}')
    except (ValueError, OSError) as error:
        say(f'{job.name}: {error}')
        failed.append(job.name)


def run_all(jobs: List[Job], places: Places, args: argparse.Namespace) -> int:
    """Train what is missing, ``--jobs`` side by side.

    Returns:
        int: 0, or 1 if a run failed or could not be started.
    """
    failed: List[str] = []
    spent: List[float] = []
    running: List[Running] = []
    shown = 0.0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        while True:
            for one in list(running):
                code = one.poll()
                if code is None:
                    continue
                running.remove(one)
                if code == 0:
                    spent.append(one.seconds)
                    say(f'{one.job.name}: done in {duration(one.seconds)}')
                    finish(one.job, places, failed)
                else:
                    failed.append(one.job.name)
                    tail = one.output.read_text(errors='replace').splitlines()[-15:]
                    say(
                        f'{one.job.name}: ended with status {code}; {one.output} ends with\n'
                        + '\n'.join(f'    {line}' for line in tail)
                    )
            busy = {one.job.name for one in running} | set(failed)
            waiting = [job for job in jobs if job.name not in busy]
            states = {job.name: status(job, places, args.gpus) for job in waiting}
            for job in waiting:
                state = states[job.name]
                if state == 'finished':
                    finish(job, places, failed)
                elif state.startswith('differs'):
                    say(f'{job.name}: {state}. Remove it, or change the file back')
                    failed.append(job.name)
                elif state in ('missing', 'interrupted') and len(running) < args.jobs:
                    slot = min(set(range(args.jobs)) - {one.slot for one in running})
                    running.append(Running(job, slot, places, args))
                    verb = 'resumed' if running[-1].note['starts'][-1]['resumed'] else 'started'
                    say(f'{job.name}: {verb} in {running[-1].work_dir}')
            left = [
                job
                for job in jobs
                if job.name not in failed and status(job, places, args.gpus) != 'done'
            ]
            if not running and not any(
                status(job, places, args.gpus) in ('missing', 'interrupted', 'finished')
                for job in left
            ):
                break
            if time.time() - shown >= args.every:
                shown = time.time()
                say(overview(jobs, left, running, spent, args.jobs))
            time.sleep(args.poll)
    except BaseException:
        for one in running:
            one.stop()
        if running:
            say('stopped; the same command goes on')
        raise
    for job in left:
        say(f'{job.name}: {status(job, places, args.gpus)}, which has no record')
    say(
        f'{len(jobs) - len(left) - len(failed)} of {len(jobs)} runs have a record'
        + (f'; failed: {", ".join(failed)}' if failed else '')
    )
    return int(bool(failed or left))


def overview(
    jobs: List[Job], left: List[Job], running: List[Running], spent: List[float], side_by_side: int
) -> str:
    """One line on where all stands, with the time left as far as the logs tell it."""
    parts, ends, totals = [], [], list(spent)
    for one in running:
        where, eta = one.progress()
        parts.append(f'{one.job.name} {where}' + (f' {duration(eta)} left' if eta else ''))
        if eta is not None:
            ends.append(eta)
            totals.append(one.seconds + eta)
    text = f'[{len(jobs) - len(left)}/{len(jobs)}] ' + '; '.join(parts)
    waiting = len(left) - len(running)
    if totals and (ends or not running):
        whole = sum(ends) + waiting * mean(totals)
        text += f' | all: about {duration(whole / max(1, min(side_by_side, len(left))))}'
    return text


def say(text: str) -> None:
    """Print a line with the time of day."""
    print(f'{datetime.now():%H:%M:%S} {text}', flush=True)


def dry_run(
    experiment: Experiment, jobs: List[Job], places: Places, args: argparse.Namespace
) -> int:
    """Print the plan and build every config.

    Returns:
        int: 0, or 1 if something cannot be built.
    """
    print(f'{experiment.title}: {len(jobs)} runs')
    for job in jobs:
        state = status(job, places, args.gpus)
        saving, recorded = depends(job.arm, job.seed, places.records)
        print(f'\n{job.name}: {state}')
        if job.arm.source is not None and saving is not None and not recorded:
            print(f'  planned with a saving of {saving:.1%}, until {job.arm.source.name} has run')
        print('  ' + shlex.join(command_of(job, places, args, state == 'interrupted')))
    failed = 0
    print('\nbuilding:')
    for job in {(job.arm.owner, job.arm.name): job for job in reversed(jobs)}.values():
        run = settings(job.arm, job.seed, places.records, args.gpus)
        label = f'{job.arm.owner}/{job.arm.name}'
        try:
            cfg = build_config(run, args.cfg_options)
            print(f'  {label}: {cfg.note}', flush=True)
            if job.arm.drawn is not None and not args.no_steps:
                steps = three_steps(cfg, job.arm.drawn, args.full_size)
                print(f'    {steps.text}', flush=True)
                if steps.seconds is not None:
                    print(f'    {hours(job.arm, cfg.cfg, steps.seconds)}', flush=True)
        except Exception as error:  # whatever it is, it is the finding
            failed += 1
            print(f'  {label}: cannot be built: {type(error).__name__}: {error}')
    print(f'{failed} of them cannot be built' if failed else 'all can be built')
    return int(failed > 0)


def hours(arm: Arm, cfg: Config, seconds: float) -> str:
    """What a run of iterations will take, as far as steps on drawn data tell.

    Args:
        arm (Arm): Whose ``expected_saving`` makes it shorter.
        cfg (Config): The config of the run.
        seconds (float): Of one step.
    """
    iterations = cfg.train_cfg.max_iters
    if cfg.train_cfg.get('budget') != 'iterations':
        iterations = round(iterations * (1 - (arm.expected_saving or 0)))
    return (
        f'{seconds:.2f} s a step here: {iterations:,} iterations take about '
        f'{iterations * seconds / 3600:.1f} h, and what loading cannot keep up with, '
        'validation and other GPUs cost'
    )


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Make the missing runs of an experiment')
    parser.add_argument('name', help='of experiments/NAME.py')
    parser.add_argument(
        '--runs',
        nargs='+',
        metavar='RUN',
        help='only these arms (infobatch) or runs (infobatch_seed0)',
    )
    parser.add_argument(
        '--gpus',
        type=int,
        metavar='N',
        help="processes of each run, one a GPU (default: the experiment's; without "
        'a GPU they are CPU processes)',
    )
    parser.add_argument(
        '--jobs',
        type=int,
        default=1,
        metavar='N',
        help='runs side by side, each on GPUs of its own while there are some (default: 1)',
    )
    parser.add_argument('--dry-run', action='store_true', help='plan and build, but train nothing')
    parser.add_argument(
        '--no-steps', action='store_true', help='with --dry-run: take no steps on drawn data'
    )
    parser.add_argument(
        '--full-size',
        action='store_true',
        help='with --dry-run: steps of full crops and batches without a GPU, too',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        metavar='KEY=VALUE',
        help='more settings of every run, such as where its data is',
    )
    parser.add_argument(
        '--every',
        type=float,
        default=30,
        metavar='SECONDS',
        help='between two lines on the progress (default: 30)',
    )
    parser.add_argument(
        '--port',
        type=int,
        default=29500,
        help='where the processes of the first run meet (default: 29500)',
    )
    parser.add_argument('--experiments', type=Path, default=EXPERIMENTS)
    parser.add_argument('--records', type=Path, default=ROOT / 'records')
    parser.add_argument('--work-dirs', type=Path, default=ROOT / 'work_dirs')
    parser.add_argument('--python', default=sys.executable, help=argparse.SUPPRESS)
    parser.add_argument('--poll', type=float, default=1.0, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    for name in ('jobs', 'gpus'):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f'--{name} is {getattr(args, name)}, but must be at least 1')
    return args


def _from_root(path: Path) -> Path:
    path = path.absolute()
    return path.relative_to(ROOT) if ROOT in path.parents else path


def main(argv: Optional[List[str]] = None) -> None:
    """Do what the command line asks for."""
    args = parse_args(argv)
    args.experiments = args.experiments.absolute()
    places = Places(*(_from_root(path) for path in (args.work_dirs, args.records)))
    os.chdir(ROOT)  # where the paths of configs and of their data begin
    try:
        experiment = load_experiment(args.name, args.experiments)
        jobs = jobs_of(experiment, args.runs)
        code = (dry_run if args.dry_run else lambda _, *rest: run_all(*rest))(
            experiment, jobs, places, args
        )
    except (ValueError, OSError) as error:
        sys.exit(f'run_experiment.py: error: {error}')
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(code)


if __name__ == '__main__':
    main()
