"""Checks that a checkpoint to test, or to start a training from, has weights of the model.

MMEngine only warns of weights that are missing, as those of another head may be. Where none is
there, random weights would be tested, or trained. It only warns of weights with other shapes, too,
as those of a classifier for other classes: a training may start from the rest of the checkpoint,
but a test of the random weights in their place says nothing.
"""

from typing import Any, List

from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper

from .checkpoints import INSTEAD
from .common import UsageError


class LoadedWeightsHook(Hook):
    """Refuse a checkpoint that has no weight of the model.

    Args:
        path (str): The checkpoint, for the error.
        same_shapes (bool): Whether to refuse one that has a weight in another shape, too. Defaults
            to False.
    """

    def __init__(self, path: str, same_shapes: bool = False) -> None:
        self.path = path
        self.same_shapes = same_shapes
        self._due = False  # what a model loads later is not this checkpoint
        self._complaints: List[str] = []

    def after_load_checkpoint(self, runner: Any, checkpoint: Any) -> None:
        """Check what was read, and have the model check what it takes from it.

        Raises:
            UsageError: If its weights are not in a dict.
        """
        weights = checkpoint
        if isinstance(checkpoint, dict):
            weights = checkpoint.get('state_dict', checkpoint)
        if not isinstance(weights, dict):
            raise UsageError(
                f'checkpoint {self.path} contains a {type(weights).__name__}, where MMEngine saves '
                f'a dict; {INSTEAD}'
            )
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module  # which MMEngine loads weights into
        model._register_load_state_dict_pre_hook(self._keep_complaints)
        model.register_load_state_dict_post_hook(self._check_loaded)
        self._due = True

    def _keep_complaints(self, *args: Any) -> None:
        """Keep the list to which each layer adds its weights of another shape."""
        self._complaints = args[-1]

    def _check_loaded(self, model: Any, keys: Any) -> None:
        """Check what is missing, after the model has renamed what it renames."""
        if not self._due:
            return
        self._due = False
        names = {name for name, _ in model.named_parameters()}
        if names and names <= set(keys.missing_keys):
            raise UsageError(
                f'checkpoint {self.path} has none of the {len(names)} weights of the model, such '
                f'as {min(names)}; give a checkpoint of the model in the config'
            )
        shapes = [line for line in self._complaints if line.startswith('size mismatch')]
        if self.same_shapes and shapes:
            raise UsageError(
                f'checkpoint {self.path} has other shapes than the model in {len(shapes)} weights: '
                f'{shapes[0].rstrip(".")}; give a checkpoint of the model in the config, with as '
                'many classes'
            )
