"""Switch InfoBatch on in every config that the installed toolboxes ship, and count.

Each training config of mmsegmentation and mmpretrain is loaded and converted, or refused with a
reason; nothing is built or trained. It prints how many of each kind convert; ``--json`` keeps all,
from which ``tools/analysis_tools/experiment.py report`` writes the tables of docs/any_config.md.
"""

import argparse
import json
import logging
import sys
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any, Dict, List, Optional

import mmengine
import mmpretrain
import mmseg
from mmengine.config import Config

from mm_infobatch import CannotConvert, convert
from mm_infobatch.convert.refusals import NO_TRAINING, is_text_model
from mm_infobatch.convert.registered import resolve

TOOLBOXES: Dict[str, Any] = dict(mmseg=mmseg, mmpretrain=mmpretrain)
GROUPS = ('mmseg', 'supervised', 'texts', 'self-supervised')
Result = Dict[str, Any]


def shipped_configs(toolbox: str) -> List[Path]:
    """The configs that an installed toolbox ships, bases aside.

    Raises:
        FileNotFoundError: If it ships none.
    """
    root = Path(TOOLBOXES[toolbox].__file__ or '').parent / '.mim' / 'configs'
    found = sorted(path for path in root.rglob('*.py') if '_base_' not in path.parts)
    if not found:
        raise FileNotFoundError(f'{toolbox} has no configs in {root}')
    return found


def group_of(toolbox: str, model: Any) -> str:
    """The group of a model's config: one of ``GROUPS``."""
    if toolbox == 'mmseg':
        return 'mmseg'
    if is_text_model(model.get('type'), toolbox):
        return 'texts'
    cls = resolve(model.get('type'), toolbox)
    bases = {base.__name__ for base in cls.__mro__} if cls else set()
    return 'self-supervised' if 'BaseSelfSupervisor' in bases else 'supervised'


def sweep() -> Result:
    """Try every shipped config.

    Returns:
        dict: ``versions``; ``groups``, for each of ``GROUPS`` the number of ``converted`` configs
        and the names of the ``refused`` ones by reason; ``without_training`` (int); and
        ``unloadable``, the names of those that the toolbox itself cannot load, by reason.
    """
    groups: Dict[str, Any] = {key: dict(converted=0, refused=defaultdict(list)) for key in GROUPS}
    unloadable: Dict[str, List[str]] = defaultdict(list)
    without_training = 0
    for toolbox in TOOLBOXES:
        for path in shipped_configs(toolbox):
            name = f'{toolbox}/' + '/'.join(path.parts[path.parts.index('configs') + 1 :])
            try:
                cfg = Config.fromfile(str(path))
            except Exception as error:  # whatever the toolbox's own loading raises
                unloadable[f'{type(error).__name__}: {first_line(error)}'].append(name)
                continue
            try:
                convert(cfg)
                groups[group_of(toolbox, cfg.model)]['converted'] += 1
            except CannotConvert as error:
                if error.reason == NO_TRAINING:
                    without_training += 1
                else:
                    groups[group_of(toolbox, cfg.model)]['refused'][error.reason].append(name)
    return dict(
        versions=versions(), groups=groups, without_training=without_training, unloadable=unloadable
    )


def versions() -> Dict[str, str]:
    """The versions that a sweep is of."""
    return {
        name: module.__version__ for name, module in dict(mmengine=mmengine, **TOOLBOXES).items()
    }


def first_line(error: BaseException) -> str:
    """A short form of an error's message, without what differs from machine to machine."""
    text = str(error).replace('\n', ' ').strip('\'"')
    for end in (', the current sys.path', ', either', ', please'):
        text = text.split(end)[0]
    return text[:120]


def share(group: Dict[str, Any]) -> float:
    """The share of a group that converts, in [0, 1]."""
    total = group['converted'] + sum(map(len, group['refused'].values()))
    return group['converted'] / total if total else 1.0


def main(argv: Optional[List[str]] = None) -> None:
    """Sweep, print and write."""
    parser = argparse.ArgumentParser(description='Convert every shipped config')
    parser.add_argument('--json', type=Path, help='the file to write the result to')
    args = parser.parse_args(argv)
    warnings.simplefilter('ignore')
    logging.disable(logging.WARNING)
    try:
        result = sweep()
    except FileNotFoundError as error:
        sys.exit(f'sweep_configs.py: error: {error}; install both toolboxes')
    for name, group in result['groups'].items():
        print(f'{name}: {group["converted"]} convert, {share(group):.1%} of all')
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=1) + '\n')


if __name__ == '__main__':
    main()
