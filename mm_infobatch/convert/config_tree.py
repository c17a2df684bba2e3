"""Walks a config: every dict in it, with its path and the scope of its types."""

from typing import Any, Dict, Iterator, Optional, Tuple, Union

ConfigPath = Tuple[Union[str, int], ...]  # keys of dicts and indices of lists, from the root


def dotted(path: ConfigPath) -> str:
    """A path as ``--cfg-options`` writes it."""
    return '.'.join(str(key) for key in path)


def at(node: Any, path: ConfigPath) -> Any:
    """What is at a path, from a node on."""
    for key in path:
        node = node[key]
    return node


def nodes(
    node: Any, scope: Optional[str], path: ConfigPath = ()
) -> Iterator[Tuple[ConfigPath, Dict[str, Any], Optional[str]]]:
    """Every dict of a config, with its path and the scope of the types in it."""
    if isinstance(node, dict):
        scope = node.get('_scope_', scope)
        yield path, node, scope
        children: Any = node.items()
    elif isinstance(node, (list, tuple)):
        children = enumerate(node)
    else:
        return
    for key, value in children:
        yield from nodes(value, scope, path + (key,))
