"""Nothing of ours unpickles, or evaluates text of, a checkpoint or a JSON file."""

import ast
import contextlib
import json
import pickletools
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import toolbox_runs as runs
import torch
from mmengine.logging import HistoryBuffer

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [*sorted((ROOT / 'mm_infobatch').rglob('*.py')), *sorted((ROOT / 'tools').glob('*.py'))]

# Modules that unpickle, or that run what they are given.
MODULES = {'pickle', 'cPickle', '_pickle', 'dill', 'cloudpickle', 'joblib', 'shelve', 'marshal',
           'jsonpickle', 'yaml', 'code', 'codeop', 'runpy'}  # yapf: disable
CALLS = {'eval', 'exec', 'compile', '__import__'}
# Whatever the object is that they are attributes of.
METHODS = {'literal_eval', 'unpickle', 'Unpickler', 'loads_pickle', 'read_pickle', 'import_module',
           'system', 'popen', 'getoutput', 'allow_pickle', 'from_pickle'}  # yapf: disable

# An older PyTorch cannot allow single classes, so a tool loads there as mmengine does.
ALLOWED = {'checkpoints.py': ['torch.load without weights_only=True']}


def findings(source):
    """What a source has of these, as (line, word)."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name.split('.')[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if all(alias.name.endswith('Error') for alias in node.names):
                continue  # to catch it
            names = [(node.module or '').split('.')[0]]
            names += [alias.name for alias in node.names if alias.name in METHODS]
        elif isinstance(node, ast.Call):
            function = node.func
            name = getattr(function, 'id', getattr(function, 'attr', ''))
            keywords = {word.arg: word.value for word in node.keywords}
            names = [name] if isinstance(function, ast.Name) and name in CALLS else []
            names += [name] if name in METHODS else []
            names += [
                word
                for word in keywords
                if word in ('allow_pickle', 'shell') and not is_false(keywords[word])
            ]
            if (
                name in ('load', 'torch_load')
                and not is_json(function)
                and not is_false(keywords.get('allow_pickle'))
            ):
                safe = keywords.get('weights_only')
                if not (isinstance(safe, ast.Constant) and safe.value is True):
                    names.append(
                        f'{ast.unparse(function)} without weights_only=True'
                        if hasattr(ast, 'unparse')
                        else name
                    )
            if name in ('load_checkpoint', '_load_checkpoint'):
                names.append(name)
        else:
            continue
        found += [(node.lineno, name) for name in names
                  if name in MODULES | CALLS | METHODS or ' ' in name
                  or name in ('allow_pickle', 'shell', 'load', 'load_checkpoint',
                              '_load_checkpoint')]  # yapf: disable
    return found


def is_false(value):
    return isinstance(value, ast.Constant) and value.value is False


def is_json(function):
    return isinstance(function, ast.Attribute) and getattr(function.value, 'id', '') == 'json'


@pytest.mark.parametrize('path', SOURCES, ids=[path.name for path in SOURCES])
def test_a_source_neither_unpickles_nor_evaluates(path):
    assert [word for _, word in findings(path.read_text())] == ALLOWED.get(path.name, [])


@pytest.mark.parametrize('source', [
    'import pickle', 'from pickle import loads', 'import yaml', 'eval(text)', 'exec(text)',
    'torch.load(path)', 'torch.load(path, weights_only=False)', 'numpy.load(a, allow_pickle=True)',
    'ast.literal_eval(text)', 'from ast import literal_eval', 'os.system(text)',
    'subprocess.run(text, shell=True)', '__import__(text)', 'load_checkpoint(model, path)',
    'mmengine.load(path)', 'pandas.read_pickle(path)', 'importlib.import_module(text)'
])  # yapf: disable
def test_the_search_finds_what_it_looks_for(source):
    assert findings(source)


@pytest.mark.parametrize(
    'source',
    [
        'json.load(file)',
        'np.load(path, allow_pickle=False)',
        'torch.load(path, weights_only=True)',
        'json.loads(text)',
        'import json',
    ],
)
def test_the_search_finds_nothing_else(source):
    assert not findings(source)


def test_the_search_covers_the_package_and_the_tools():
    names = {path.name for path in SOURCES}
    assert {'hook.py', 'sampler.py', 'soft_pruning.py', 'run_logs.py', 'train.py'} <= names


# ------------------------------------------------------------------------- checkpoints

PLAIN = (bool, int, float, str, type(None), torch.Tensor)


def kinds(value, path='infobatch'):
    """Yield the place and the type of everything in a state."""
    if type(value) in (dict, list):
        items = value.items() if type(value) is dict else enumerate(value)
        for key, each in items:
            assert type(key) in (str, int), f'{path}: a key is a {type(key)}'
            yield from kinds(each, f'{path}.{key}')
    else:
        yield path, type(value)


def config(toolbox, tmp_path):
    if toolbox == 'mmseg':
        data = runs.write_segmentation_data(tmp_path / 'data', num_images=12)
        cfg = runs.segmentation_config(data, tmp_path / 'run', 12)
    else:
        data = runs.write_classification_data(tmp_path / 'data', num_images=8)
        cfg = runs.classification_config(data, tmp_path / 'run', 4, batch_size=2)
    return runs.switch_on(runs.checkpoints_every(cfg, 1), delta=1)


@pytest.fixture(scope='module', params=['mmseg', 'mmpretrain'])
def files(request, tmp_path_factory):
    """The checkpoints of each iteration of a run."""
    cfg = config(request.param, tmp_path_factory.mktemp(request.param))
    ours = runs.train(cfg)
    assert ours.passes[1][1].pruned
    return [Path(cfg.work_dir) / f'iter_{step}.pth' for step in range(1, len(ours.rows) + 1)]


def names_in(path):
    """The functions and classes that unpickling a checkpoint would call."""
    with zipfile.ZipFile(path) as file:
        (name,) = [name for name in file.namelist() if name.endswith('data.pkl')]
        opcodes = pickletools.genops(file.read(name))
        return {arg.replace(' ', '.', 1) for opcode, arg, _ in opcodes if opcode.name == 'GLOBAL'}


@pytest.mark.default_cases('mmpretrain')
def test_our_state_adds_nothing_to_a_checkpoint_that_unpickling_would_call(files, tmp_path):
    for path in files:
        checkpoint = torch.load(path, weights_only=False)
        torch.save(checkpoint['infobatch'], tmp_path / 'state.pth')
        assert names_in(tmp_path / 'state.pth') <= {
            'collections.OrderedDict',
            'torch._utils._rebuild_tensor_v2',
            'torch.FloatStorage',
            'torch.LongStorage',
            'torch.IntStorage',
            'torch.ShortStorage',
            'torch.ByteStorage',
        }
        assert not any(name.startswith('mm_infobatch') for name in names_in(path))


def test_a_whole_checkpoint_loads_weights_only_with_mmengines_own_classes_allowed(files):
    """mmengine keeps buffers of its log, of NumPy arrays and of methods by name."""
    if not hasattr(torch.serialization, 'safe_globals'):
        pytest.skip('this torch cannot allow single classes')
    allowed = [HistoryBuffer, getattr, np.ndarray, np.dtype, *map(type, map(np.dtype, 'dlf'))]
    for name in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        with contextlib.suppress(ImportError), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            module = __import__(name, fromlist=['_reconstruct'])
            allowed += [
                (module._reconstruct, f'{name}._reconstruct'),
                (module.scalar, f'{name}.scalar'),
            ]
    for path in files:
        with torch.serialization.safe_globals(allowed):
            checkpoint = torch.load(path, weights_only=True)
        for place, kind in kinds(checkpoint['infobatch']):
            assert kind in PLAIN, f'{place} is a {kind}'


def test_our_state_is_tensors_and_plain_values_and_loads_without_unpickling(files, tmp_path):
    for path in files:
        checkpoint = torch.load(path, weights_only=False)
        for place, kind in kinds(checkpoint['infobatch']):
            assert kind in PLAIN, f'{place} is a {kind}'
        torch.save(checkpoint['infobatch'], tmp_path / 'state.pth')
        loaded = torch.load(tmp_path / 'state.pth', weights_only=True)
        assert dict(kinds(loaded)) == dict(kinds(checkpoint['infobatch']))
        for name in ('scores', 'order', 'weights'):
            theirs, ours = loaded['sampler'][name], checkpoint['infobatch']['sampler'][name]
            assert torch.equal(theirs.nan_to_num(-1), ours.nan_to_num(-1))


def test_the_report_is_plain_json(tmp_path):
    cfg = config('mmpretrain', tmp_path)
    runs.train(cfg)
    text = (Path(cfg.work_dir) / 'infobatch.json').read_text()
    report = json.loads(text, parse_constant=lambda name: pytest.fail(f'{name} is no JSON'))
    for path, kind in kinds(report):
        assert kind in PLAIN[:-1], f'{path} is a {kind}'
