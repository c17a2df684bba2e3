"""What the documents say is what the repository has."""

import json
import re
import shlex
from pathlib import Path

import mmpretrain.models  # noqa: F401
import mmseg.models  # noqa: F401
import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from experiment_engine.documents import PLACE, render
from experiment_engine.records import make_record
from mm_infobatch import InfoBatchLoss
from mm_infobatch.cli.command import parse_args

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / 'README.md').read_text()
DOCUMENTS = (
    'README.md',
    'CONTRIBUTING.md',
    'configs/README.md',
    'docs/architecture.md',
    'experiments/README.md',
    'docs/faults.md',
    'docs/guarantees.md',
    'docs/inspect.md',
    'docs/ablations.md',
    'docs/lossless.md',
    'docs/policies.md',
    'docs/results.md',
    'docs/running.md',
    'docs/ade20k.md',
)


def test_every_table_of_the_readme_is_what_the_records_say():
    assert PLACE.search(README)
    assert render(README) == README


def test_a_number_that_was_changed_by_hand_is_found():
    place = PLACE.search(README)
    digit = place.start(4) - 1 - re.search(r'\d', place.group(0)[::-1]).start()
    table = README[place.end(1) : place.start(4)]
    changed = README.replace(table, re.sub(r'\d', '7', table, count=3), 1)
    assert digit and changed != README
    assert render(changed) == README


def test_the_readme_is_short():
    assert len(README.split()) <= 1500


def test_the_readme_names_commands_and_configs_that_exist():
    rules = re.findall(r'^([a-z-]+):', (ROOT / 'Makefile').read_text(), re.MULTILINE)
    targets = set(re.findall(r'(?:^|`)make ([a-z-]+)', README, re.MULTILINE))
    assert {'demo', 'test'} <= targets <= set(rules)
    lines = README.replace('\\\n', ' ').splitlines()
    commands = [shlex.split(line, comments=True) for line in lines if 'mm-infobatch ' == line[:13]]
    assert {command[1] for command in commands} == {'train', 'convert', 'plot', 'inspect'}
    for command in commands:
        parse_args(command[1:])
    paths = re.findall(r'(?:configs|tools)/[\w./-]+\.(?:py|sh)', README)
    assert len(paths) > 4
    assert [path for path in paths if not (ROOT / path).is_file()] == []


@pytest.mark.parametrize('document', DOCUMENTS)
def test_every_link_to_a_file_leads_to_one(document):
    path = ROOT / document
    links = re.findall(r'\]\(([^)#]+?)(?:#[^)]*)?\)', path.read_text())
    local = [link for link in links if '://' not in link]
    assert local or document.startswith('docs/')
    assert [link for link in local if not (path.parent / link).exists()] == []


@pytest.mark.parametrize(
    'own, base, scope',
    [
        ('./my_upernet.py', 'configs/demo/upernet_r18-slim_1xb8-1.2k_shapes-64x64.py', 'mmseg'),
        ('./my_resnet.py', 'configs/resnet/resnet18-slim_1xb128_cifar10-png.py', 'mmpretrain'),
    ],
)
def test_the_lines_that_the_readme_adds_to_a_config_turn_infobatch_on(own, base, scope, tmp_path):
    block = next(
        code for code in re.findall(r'```python\n(.*?)```', README, re.DOTALL) if own in code
    )
    config = tmp_path / 'mine.py'
    config.write_text(block.replace(own, str(ROOT / base)))
    before, after = Config.fromfile(str(ROOT / base)), Config.fromfile(str(config))
    assert after.train_dataloader.sampler.type == 'InfoBatchSampler'
    assert after.train_cfg.type.startswith('InfoBatch')
    for key in ('max_iters', 'max_epochs', 'val_interval'):
        assert after.train_cfg.get(key) == before.train_cfg.get(key)
    assert after.custom_hooks[-1].type == 'InfoBatchHook'
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(after.model)
    losses = [module for module in model.modules() if isinstance(module, InfoBatchLoss)]
    assert len(losses) == (2 if scope == 'mmseg' else 1)


def test_a_record_has_no_place_of_the_machine_and_says_what_it_ran_on(tmp_path):
    session = tmp_path / 'run' / '20260101_000000'
    (session / 'vis_data').mkdir(parents=True)
    (session / 'vis_data' / 'scalars.json').write_text('{"loss": 1.0, "iter": 1, "step": 1}\n')
    (session / f'{session.name}.log').write_text(
        f'    GPU number: 1\n    Python: {tmp_path}/bin\n'
        f'date - mmengine - INFO - Auto resumed from the checkpoint {tmp_path}/epoch_1.pth.\n'
        'date - mmengine - INFO - Epoch(train) [1][1/2]  loss: 1.0\n'
    )
    make_record(tmp_path / 'run', tmp_path / 'record.json')
    text = (tmp_path / 'record.json').read_text()
    kept = json.loads(text)
    assert kept['train']['loss'] == [1] and kept['samples'] == 1 and kept['starts'] is None
    assert str(tmp_path) not in text
    environment = kept['environment']
    assert environment['cores'] and any('torch' in name for name in environment['packages'])


def test_a_record_of_a_folder_without_logs_is_refused(tmp_path):
    with pytest.raises(ValueError, match='Give the work_dir of a run'):
        make_record(tmp_path, tmp_path / 'record.json')


@pytest.mark.parametrize(
    'place, reason',
    [
        (
            'experiment: none_of_ours',
            "experiment 'none_of_ours': .* does not exist; there are: ade20k",
        ),
        ('experiment: camvid, long', 'write <!-- experiment: NAME -->'),
        ('experiment: ade20k', 'experiment: ade20k: it has no record yet'),
        ('experiments: all', 'experiments: all: write run or planned'),
        ('sweep: records/sweep/none_of_ours.json', 'there is no such file'),
        ('policies: records/policies/none_of_ours.json', 'there is no such file'),
    ],
)
def test_a_place_that_names_no_record_is_an_error(place, reason):
    text = f'<!-- {place} -->\n<!-- end of table -->'
    with pytest.raises(ValueError, match=reason):
        render(text)
