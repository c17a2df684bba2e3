"""Finds the classes of an object that are a user's own, and what their code reads."""

import dis
import functools
import inspect
from dataclasses import dataclass
from types import CodeType
from typing import Any, FrozenSet, Iterator, List, Sequence, Set, Tuple

# What their classes do is known; any other package is a user's own.
KNOWN_PACKAGES = ('mmengine', 'mmcv', 'mmseg', 'mmpretrain', 'mm_infobatch', 'torch')
POSITION = {'iter', '_iter', 'max_iters', '_max_iters', 'every_n_train_iters'}


@dataclass(frozen=True)
class Reads:
    """What the code of a function reads.

    Args:
        names (frozenset[str]): Attributes.
        hub (bool): Whether it reads the iteration, or the last one, from a message hub.
        stores (bool): Whether it sets an attribute or an item.
    """

    names: FrozenSet[str]
    hub: bool
    stores: bool

    @property
    def position(self) -> bool:
        """bool: Whether it reads how far the run is."""
        return self.hub or bool(self.names & POSITION)


def is_known(cls: type, packages: Sequence[str] = KNOWN_PACKAGES) -> bool:
    """Whether a class is defined in one of these packages."""
    return cls.__module__.split('.')[0] in packages


def own_classes(instance: Any, packages: Sequence[str] = KNOWN_PACKAGES) -> List[type]:
    """The classes of an object that are defined in none of these packages."""
    classes = type(instance).__mro__[:-1]  # without ``object``
    return [cls for cls in classes if not is_known(cls, packages)]


def functions_of(cls: type) -> Iterator[Tuple[str, Reads]]:
    """The functions that a class defines, and what each reads."""
    for name, function in vars(cls).items():
        function = getattr(function, 'fget', None) or getattr(function, '__func__', function)
        code = getattr(inspect.unwrap(function), '__code__', None)
        if isinstance(code, CodeType):
            yield name, _read(code)


@functools.lru_cache(maxsize=None)  # called again in each pass
def _read(code: CodeType) -> Reads:
    names: Set[str] = set()
    strings: Set[str] = set()
    stores = False
    codes = [code]
    while codes:
        code = codes.pop()
        codes += [const for const in code.co_consts if isinstance(const, CodeType)]
        strings |= {const for const in code.co_consts if isinstance(const, str)}
        for instruction in dis.get_instructions(code):
            if instruction.opname in ('LOAD_ATTR', 'LOAD_METHOD'):
                names.add(instruction.argval)
            stores |= instruction.opname in ('STORE_ATTR', 'STORE_SUBSCR')
            stores |= instruction.argval == 'setattr'
    return Reads(frozenset(names), 'get_info' in names and bool(strings & POSITION), stores)
