"""Starts of a training on two processes over gloo, and of a tool in a Python of its own."""

import os
import subprocess
import sys
from pathlib import Path

import toolbox_runs as runs
from warm_start import ROOT, Ranks, train_main


def launch(cfg, *args, imports=()):
    """Train on two processes; hooks and transforms of the modules ``imports`` may be used."""
    ranks = start(cfg, *args, imports=imports)
    assert ranks.wait() == [0, 0], ranks.said()


def start(cfg, *args, imports=()):
    """Start ``mm-infobatch train`` on two processes, as torch's launcher would."""
    argv = [str(write_config(cfg, imports)), *args, '--launcher', 'pytorch']
    return Ranks(train_main, (argv,), 2, Path(cfg.work_dir) / 'said')


def launch_by_script(cfg, processes=2, gpu=False):
    """Train by ``tools/dist_train.sh``; without ``gpu`` on the CPU, also where there is a GPU."""
    done = subprocess.run(
        ['bash', 'tools/dist_train.sh', str(write_config(cfg)), str(processes)],
        env=dict(
            os.environ,
            PYTHON=sys.executable,
            OMP_NUM_THREADS='1',
            PYTHONPATH=str(ROOT / 'tests'),
            PYTHONWARNINGS='ignore',
            **({} if gpu else dict(CUDA_VISIBLE_DEVICES='')),
        ),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]


def write_config(cfg, imports=()):
    cfg = runs.copy_of(cfg)
    cfg.custom_imports = dict(imports=['mm_infobatch', 'toolbox_runs', *imports])
    path = Path(cfg.work_dir) / 'config.py'
    path.parent.mkdir(parents=True, exist_ok=True)
    cfg.dump(path)
    return path


def run_cold(tool, *arguments, cwd, packages=()):
    """As ``warm_start.run_tool``, in a Python that has to import all."""
    path = os.pathsep.join(map(str, [ROOT, *packages]))
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', str(tool), *map(str, arguments)],
        cwd=cwd,
        env=dict(os.environ, PYTHONPATH=path, OMP_NUM_THREADS='1', MPLBACKEND='agg'),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=600,
        check=False,
    )
    return done.returncode, done.stdout
