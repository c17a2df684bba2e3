"""The memory and time that a selection needs: said before it begins, refused where too much."""

import re
import sys
import time
from pathlib import Path
from typing import Callable, List, NamedTuple, Optional, Sequence

import numpy as np

from .hessian import MAX_ROWS

DIMENSIONS = 256  # to which influences are projected


class Size(NamedTuple):
    """The size of a selection in one group of samples.

    Args:
        n (int): Samples.
        k (int): How many are chosen.
        c (int): Classes.
        d (int): Features.
    """

    n: int
    k: int
    c: int
    d: int


class Cost(NamedTuple):
    """The estimated memory and time of a selection.

    Args:
        memory (float): Bytes at the peak, without the memory-mapped arrays.
        operations (float): The time, in multiplications of a matrix-vector product.
    """

    memory: float
    operations: float


# Times in multiplications of a matrix-vector product, measured on LeNet-5 and Fashion-MNIST:
SOFTMAX = 250  # the error of one class of a sample
PICK = 20  # one sample in a pick, in addition to the product
PAIR = 250  # one pair: its distance, and about eight accesses to it in a lazy selection
BLAS = 8  # multiplications that a product of two matrices does in the time of one
INVERSE = 32.0  # bytes per entry: the matrix, its inverse, and two copies in LAPACK


def of_rows(size: Size) -> Cost:
    """One pass over the rows."""
    return Cost(4 * size.n, float(size.n) * (SOFTMAX * size.c + 10 * size.d))


def of_features(size: Size) -> Cost:
    """Products of all features with a vector, one per pick."""
    return Cost(4 * size.n * (size.d + 8), float(size.k) * size.n * (size.d + PICK))


def of_probabilities(size: Size) -> Cost:
    """Products of all probabilities and of their logarithms with a vector, one per pick."""
    return Cost(8 * size.n * (size.c + 4), float(size.k) * size.n * (2 * size.c + PICK))


def of_gradients(size: Size) -> Cost:
    """Products of both factors of all gradients with a vector, one per pick."""
    width = size.c + size.d
    return Cost(8 * size.n * (width + 4), float(size.k) * size.n * (width + PICK))


def of_pairs(size: Size) -> Cost:
    """The similarities of all pairs, and lazy picks."""
    pairs = float(size.n) * size.n
    return Cost(12 * pairs, pairs * ((size.c + size.d) / BLAS + PAIR))


def of_rounds(size: Size, rounds: int, per_class: bool = False) -> Cost:
    """Products of the gradients of training and validation data with a matrix, one per round.

    A round chooses at least one sample, so there are at most k rounds. Per class, the features of
    a class are copied.
    """
    row = 2 * size.c * size.d / BLAS + SOFTMAX * size.c + PICK * size.d
    width = size.c + size.d * per_class + 4
    return Cost(8 * size.n * width, float(min(rounds, size.k)) * size.n * row)


def of_hessian(size: Size) -> Cost:
    """The Hessian, exact or as a Kronecker product, and its product with all gradients."""
    rows = size.c * (size.d + 1)
    if rows <= MAX_ROWS:
        making = size.n * rows**2 / 2 + rows**3
        # The Hessian is made in float64, at half the speed.
        return Cost(INVERSE * rows**2 + 4 * size.n * size.c, (2 * making + size.n * rows**2) / BLAS)
    squares = size.c**2 + size.d**2
    return Cost(INVERSE * squares + 4 * size.n * size.c, 2.0 * size.n * squares / BLAS)


def of_skipping(size: Size) -> Cost:
    """Products of the projected influences with a vector, one for each skipped sample."""
    hessian = of_hessian(size)
    skips = float(size.n - size.k) * size.n * DIMENSIONS
    return Cost(hessian.memory + 4 * size.n * (DIMENSIONS + 8), hessian.operations + skips)


def multiplications_per_second() -> float:
    """Multiplications a second of a matrix-vector product, measured on this machine."""
    matrix, vector = np.ones((2**14, 2**9), np.float32), np.ones(2**9, np.float32)
    seconds: List[float] = []
    for _ in range(4):
        began = time.perf_counter()
        matrix @ vector
        seconds.append(time.perf_counter() - began)
    return float(matrix.size) / min(seconds[1:])


def free_memory(root: Path = Path('/')) -> Optional[int]:
    """Bytes that are free, of the machine and of the container or job that the process is in.

    Args:
        root (Path): Where ``proc`` and ``sys`` are. Defaults to the root of the file system.

    Returns:
        int, optional: None where the system does not say.
    """
    meminfo, cgroup = root / 'proc' / 'meminfo', root / 'proc' / 'self' / 'cgroup'
    text = meminfo.read_text() if meminfo.is_file() else ''
    free = [int(kilobytes) * 1024 for kilobytes in re.findall(r'MemAvailable:\s+(\d+) kB', text)]
    for line in cgroup.read_text().splitlines() if cgroup.is_file() else ():
        _, kinds, name = line.split(':', 2)
        top = root / 'sys' / 'fs' / 'cgroup' / kinds  # '' in version 2
        if kinds in ('', 'memory'):
            place = top / name.lstrip('/')
            # In a container its own group may be mounted as the top one.
            groups = {top, place, *(group for group in place.parents if top in group.parents)}
            free += [left for group in groups for left in _free_of_group(group, kinds)]
    return min(free) if free else None


def _free_of_group(group: Path, kinds: str) -> List[int]:
    """Bytes that a control group still has below its limit, if it has one: [] or [int]."""
    limit, used, prefix = 'memory.max', 'memory.current', ''
    if kinds:  # version 1
        limit, used, prefix = 'memory.limit_in_bytes', 'memory.usage_in_bytes', 'total_'
    try:
        left = int((group / limit).read_text()) - int((group / used).read_text())
        stat = (group / 'memory.stat').read_text()
    except (OSError, ValueError):  # there is no such group, or its limit is 'max'
        return []
    cached = re.findall(rf'^{prefix}(?:in)?active_file (\d+)$', stat, re.MULTILINE)
    return [left + sum(map(int, cached))]  # the cache of files makes room where there is none


def peak_memory() -> Optional[int]:
    """The most bytes of memory that this process has had; None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes if sys.platform == 'darwin' else kilobytes * 1024


def statement(
    name: str,
    sizes: Sequence[Size],
    cost: Callable[[Size], Cost],
    free: Optional[int],
    divisible: bool = True,
) -> str:
    """What a method will need, in words.

    Args:
        name (str): The method.
        sizes (list[Size]): Its groups, which are selected from one after the other.
        cost (callable): The cost of one group.
        free (int, optional): Bytes of memory that are free.
        divisible (bool): Whether ``--per-class`` would make smaller groups. Defaults to True.

    Raises:
        ValueError: If it needs more memory than is free.
    """
    costs = [cost(size) for size in sizes]
    memory = max(each.memory for each in costs)
    largest = max(size.n for size in sizes)
    if free is not None and memory > free:
        raise ValueError(
            f'{name} needs about {memory / 1e9:,.1f} GB of memory for a group of {largest:,} '
            f'samples, but {free / 1e9:,.1f} GB are free; '
            f'{"choose per class (--per-class), or " if divisible else ""}use a machine with more '
            'memory'
        )
    seconds = sum(each.operations for each in costs) / multiplications_per_second()
    return (
        f'{name}: {len(sizes)} group{"s" * (len(sizes) > 1)} of up to {largest:,} samples, about '
        f'{memory / 1e6:,.0f} MB of memory and {rough_duration(seconds)} after the extraction'
    )


def rough_duration(seconds: float) -> str:
    """Seconds, minutes or hours."""
    for unit, size in (('h', 3600.0), ('min', 60.0)):
        if seconds >= 2 * size:
            return f'{seconds / size:,.0f} {unit}'
    return f'{seconds:,.0f} s' if seconds >= 1 else 'less than 1 s'
