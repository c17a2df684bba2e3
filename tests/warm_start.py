"""Processes of a test that need not import PyTorch and the toolboxes again.

They are forked from a server that has imported them already (Python's ``forkserver``), so that one
starts in milliseconds; from there on each is its own, with its own process group, arguments,
environment and output, as if a shell had started it. What a user starts, the scripts of ``tools/``
and the command, is started as a user does in the tests that are about it.
"""

import contextlib
import multiprocessing
import os
import runpy
import signal
import socket
import sys
import tempfile
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PATHS = [str(ROOT / name) for name in ('tests', '.')]
PATIENCE = 240  # seconds after which a run that does not end has hung: no measure of speed
SERVER = multiprocessing.get_context('forkserver')
SERVER.set_forkserver_preload(
    [
        'toolbox_runs',
        'small_runner',
        'mm_infobatch.cli',
        # What each run would import.
        'matplotlib.backends.backend_agg',
        'matplotlib.pyplot',
        'yapf',
    ]
)
# All that is read when PyTorch is imported, by the server or by what a process starts itself.
ENVIRONMENT = dict(
    OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='', MPLBACKEND='agg', PYTHONWARNINGS='ignore'
)


def leave_configs_as_written():
    """Take the formatter out of MMEngine's ``Config.pretty_text``, whose text is valid without.

    MMEngine formats the text of a config four times a run, which takes long beside a small run.
    """
    from yapf.yapflib import yapf_api

    yapf_api.FormatCode = lambda text, **kwargs: (text, False)


def free_port():
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        return sock.getsockname()[1]


def train_main(argv):
    """``mm-infobatch train ...``."""
    from mm_infobatch import cli

    cli.main(['train', *argv])


def run_script(path, argv):
    """``python path ...``."""
    sys.argv = [str(path), *argv]
    sys.path.insert(0, str(Path(path).parent))
    runpy.run_path(str(path), run_name='__main__')


# ------------------------------------------------------------------ in the new process


def _process(function, args, outputs, environment, paths, cwd):
    """What a process does first: be like one that a shell has started."""
    import torch

    from mm_infobatch.cli.launch import leave_process_group

    os.setsid()
    for stream, output in enumerate(outputs, 1):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.path[:] = [*paths, *filter(_is_installed, sys.path)]
    warnings.resetwarnings()
    warnings.simplefilter('ignore')
    torch.set_num_threads(1)
    leave_configs_as_written()
    function(*args)
    leave_process_group()


def _is_installed(path):
    """Whether an entry of Python's path is none of those that pytest has put there."""
    parents = (Path(path), *Path(path).parents)
    return Path(sys.prefix) in parents or (Path(path).is_absolute() and ROOT not in parents)


# ------------------------------------------------------------------ in the test


@contextlib.contextmanager
def _environment_of_the_server():
    """The environment from which the server starts, if it has not started yet.

    Not every Python gives the server this process's path.
    """
    before = dict(os.environ)
    os.environ.update(ENVIRONMENT, PYTHONPATH=os.pathsep.join(PATHS))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _rank_environment(rank, world_size, port):
    """What torch's launcher tells a process; without its agent, rank 0 has the store."""
    if world_size == 1:
        return {}
    return dict(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(world_size),
        LOCAL_WORLD_SIZE=str(world_size),
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
        TORCHELASTIC_USE_AGENT_STORE='False',
    )


class Ranks:
    """The processes of one start.

    Args:
        function: What each does; a function of a module.
        args (tuple): Its arguments.
        world_size (int): How many there are.
        folder (Path): Where their output goes.
        paths (Sequence[str]): What is on PYTHONPATH. Defaults to the repository and its tests.
        cwd (Path): The directory they start in. Defaults to the repository.
    """

    def __init__(self, function, args, world_size, folder, paths=PATHS, cwd=ROOT):
        folder.mkdir(parents=True, exist_ok=True)
        port, self.name = free_port(), len(list(folder.glob('*.rank0.out')))
        self.outputs = [folder / f'{self.name}.rank{rank}.out' for rank in range(world_size)]
        paths = list(map(str, paths))
        environment = dict(os.environ, **ENVIRONMENT, PYTHONPATH=os.pathsep.join(paths))
        self.processes = [
            SERVER.Process(
                target=_process,
                args=(
                    function,
                    args,
                    [str(output)] * 2,
                    dict(environment, **_rank_environment(rank, world_size, port)),
                    paths,
                    str(cwd),
                ),
            )
            for rank, output in enumerate(self.outputs)
        ]
        with _environment_of_the_server():
            for process in self.processes:
                process.start()

    def kill(self, ranks=None):
        """SIGKILL to those ranks and to their workers; to all of them by default."""
        for process in self.processes if ranks is None else [self.processes[i] for i in ranks]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.join(PATIENCE)

    def running(self):
        return [process for process in self.processes if process.exitcode is None]

    def wait(self):
        """Wait for the end of all, and return their exit codes."""
        deadline = time.monotonic() + PATIENCE
        for process in self.processes:
            process.join(max(0, deadline - time.monotonic()))
        hung = self.running()
        self.kill()
        assert not hung, f'{len(hung)} processes hang:\n{self.said()}'
        return [process.exitcode for process in self.processes]

    def wait_for(self, *markers):
        """Wait until they have come to the moment; False where all ended before it."""
        deadline = time.monotonic() + PATIENCE
        while not all(marker.exists() for marker in markers):
            if not self.running():
                return all(marker.exists() for marker in markers)
            assert time.monotonic() < deadline, f'{markers[0].name} never came:\n{self.said()}'
            time.sleep(0.01)
        return True

    def said(self):
        """The end of what each of them has written."""
        written = (output.read_text(errors='replace') for output in self.outputs if output.exists())
        return '\n'.join(text[-3000:] for text in written)


def run_tool(tool, *arguments, cwd, packages=()):
    """``python tool ...``, as a user would start it.

    Args:
        tool (Path): The tool.
        cwd (Path): The directory it starts in.
        packages (Sequence[Path]): Where the user's own packages are.

    Returns:
        tuple[int, str]: The exit status, and what it printed.
    """
    with tempfile.TemporaryDirectory() as folder:
        args = (str(tool), list(map(str, arguments)))
        ranks = Ranks(run_script, args, 1, Path(folder), [ROOT, *packages], cwd)
        (status,) = ranks.wait()
        return status, ranks.outputs[0].read_text()
