"""A run of several processes over gloo, started by ``tools/dist_train.sh``."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import toolbox_runs as runs

ROOT = Path(__file__).resolve().parents[1]


def free_port():
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        return sock.getsockname()[1]


def launch(cfg, processes=2, imports=(), gpu=False):
    """Train; hooks and transforms of the modules ``imports`` of this folder may be used.

    Without ``gpu`` on the CPU, also where there is a GPU.
    """
    cfg = runs.copy_of(cfg)
    cfg.custom_imports = dict(imports=['mm_infobatch', 'toolbox_runs', *imports])
    path = Path(cfg.work_dir) / 'config.py'
    path.parent.mkdir(parents=True, exist_ok=True)
    cfg.dump(path)
    done = subprocess.run(
        ['bash', 'tools/dist_train.sh', str(path), str(processes)],
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
