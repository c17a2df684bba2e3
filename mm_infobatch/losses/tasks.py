"""The tasks of a model whose head gives each of them only the samples that have it."""

from typing import Any, Dict, List, Sequence, Tuple

from torch import nn

from .wrapper import InfoBatchLoss


def tasks_of(model: nn.Module) -> Dict[InfoBatchLoss, Tuple[str, ...]]:
    """The tasks whose samples a loss gets, outermost first, for the losses below a head like
    mmpretrain's ``MultiTaskHead``, which gives each task only the samples that have it."""
    tasks: Dict[InfoBatchLoss, Tuple[str, ...]] = {}
    for head in model.modules():
        task_heads = getattr(head, 'task_heads', None)
        if isinstance(task_heads, nn.ModuleDict):
            for task, sub_head in task_heads.items():
                for module in sub_head.modules():
                    if isinstance(module, InfoBatchLoss):
                        tasks[module] = (*tasks.get(module, ()), task)
    return tasks


def rows_of_tasks(data_samples: Any, tasks: Sequence[str]) -> List[int]:
    """The rows of a batch whose samples have all of some nested tasks, outermost first."""
    having = []
    for row, sample in enumerate(data_samples):
        for task in tasks:
            sample = sample.get(task) if task in sample else None
            if sample is None:
                break
        else:
            having.append(row)
    return having
