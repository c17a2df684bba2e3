"""The tools around policies, and the document that they write."""

import json
import re
from pathlib import Path

import mmengine.optim.scheduler
import numpy as np
import pytest
import toolbox_runs as runs
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from small_runner import small_runner

import compare_policies
from experiment_engine.documents import PLACE, render
from experiment_engine.dry_run import make_config
from experiment_engine.settings import settings
from experiment_engine.spec import available, load_experiment
from experiment_engine.tables import text
from mm_infobatch import PRUNING_POLICIES, InfoBatchSampler, cli
from mm_infobatch.cli.checkpoints import read_checkpoint
from mm_infobatch.cli.logged_losses import logged_losses
from mm_infobatch.scoring import classifier
from mm_infobatch.scoring.forgetting import forgetting, learned_by_loss
from policy_comparison.gradients import best_mean_weight, compare_gradients, gradients_of

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]
ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / 'docs' / 'policies.md'
NUM_IMAGES = 24


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A run of 5 epochs with a checkpoint of each, and its config as a file."""
    folder = tmp_path_factory.mktemp('trained')
    data = runs.write_classification_data(folder / 'data', num_images=NUM_IMAGES)
    cfg = runs.switch_on(
        runs.classification_config(data, str(folder / 'run'), flip=True, val_interval=5)
    )
    cfg = runs.checkpoints_every(cfg, 1, by_epoch=True)
    cfg.dump(folder / 'config.py')
    recorder = runs.train(cfg)
    return folder, recorder


def test_el2n_scores_are_the_errors_of_the_predicted_probabilities(trained, tmp_path, capsys):
    folder, recorder = trained
    paths = [str(folder / 'run' / f'epoch_{index}.pth') for index in (4, 5)]
    out = tmp_path / 'el2n.npy'
    cli.main(
        [
            'scores',
            'el2n',
            str(folder / 'config.py'),
            *paths,
            '--out',
            str(out),
            '--batch-size',
            '5',
        ]
    )
    assert f'{NUM_IMAGES} scores' in capsys.readouterr().out
    scores = np.load(out)
    assert scores.shape == (NUM_IMAGES,) and scores.dtype == np.float32
    # By hand, an image at a time.
    model, expected = recorder.runner.model.eval(), np.zeros(NUM_IMAGES)
    dataset = recorder.runner.train_loop.dataloader.dataset
    pipeline = recorder.runner.val_loop.dataloader.dataset.pipeline
    for path in paths:
        model.load_state_dict(torch.load(path, weights_only=False)['state_dict'])
        for index in range(NUM_IMAGES):
            packed = pipeline(dataset.get_data_info(index))
            image = (packed['inputs'].flip(0).float() - 100) / 80  # BGR to RGB
            with torch.no_grad():
                logits = model.head(model.extract_feat(image[None]))[0]
            label = int(packed['data_samples'].gt_label)
            error = logits.softmax(0) - torch.nn.functional.one_hot(torch.tensor(label), 3)
            expected[index] += float(error.norm()) / 2
    assert np.allclose(scores, expected, atol=1e-5)
    policy = PRUNING_POLICIES.build(dict(type='FromFile', path=str(out), keep=0.5))
    kept = policy.plan(torch.zeros(NUM_IMAGES), torch.Generator()).indices.tolist()
    assert set(kept) == set(np.argsort(-scores)[:12])


def test_forgetting_reads_the_scores_of_a_run_in_the_order_of_training(trained, tmp_path):
    folder, recorder = trained
    paths = [folder / 'run' / f'epoch_{index}.pth' for index in (5, 1, 3, 2, 4)]
    losses = logged_losses(paths)
    assert losses.shape == (5, NUM_IMAGES)
    for index in range(1, 5):
        assert np.array_equal(losses[index - 1], recorder.passes[index][0].numpy())
    out = tmp_path / 'forgetting.npy'
    cli.main(['scores', 'forgetting', *map(str, paths), '--out', str(out)])
    assert np.array_equal(np.load(out), forgetting(learned_by_loss(losses)))


def test_scores_that_depend_on_the_batch_are_no_losses(tmp_path):
    paths = [tmp_path / 'epoch_1.pth', tmp_path / 'epoch_2.pth']
    for iters, path in enumerate(paths):
        sampler = dict(scores=torch.ones(3), batch_score='excess')
        torch.save(dict(infobatch=dict(schedule=dict(iters=iters), sampler=sampler)), path)
    with pytest.raises(ValueError, match="depend on the batch .batch_score='excess'"):
        logged_losses(paths)


def test_losses_of_two_runs_are_not_those_of_one(tmp_path):
    paths = [tmp_path / f'{index}.pth' for index in range(3)]
    for index, path in enumerate(paths):
        sampler = dict(scores=torch.ones(3), seed=index // 2)
        torch.save(dict(infobatch=dict(schedule=dict(iters=index), sampler=sampler)), path)
    assert logged_losses(paths[:2]).shape == (2, 3)
    with pytest.raises(ValueError, match='of different runs, with the seeds 0 and 1'):
        logged_losses(paths)


def test_one_checkpoint_given_twice_says_nothing_of_what_was_forgotten(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    sampler = dict(scores=torch.ones(3), seed=0)
    torch.save(dict(infobatch=dict(schedule=dict(iters=7), sampler=sampler)), path)
    with pytest.raises(ValueError, match='all checkpoints are of iteration 7, .* different epochs'):
        logged_losses([path, path])


def test_samples_that_a_run_never_trained_are_not_those_never_learned(tmp_path):
    paths = [tmp_path / f'{index}.pth' for index in range(2)]
    for index, path in enumerate(paths):
        scores = torch.tensor([1.0, float('nan'), 0.5 if index else float('nan')])
        sampler = dict(scores=scores, seed=0)
        torch.save(dict(infobatch=dict(schedule=dict(iters=index), sampler=sampler)), path)
    with pytest.raises(ValueError, match='1 of 3 samples have no loss in any of the checkpoints'):
        logged_losses(paths)


@pytest.mark.parametrize(
    'state',
    [
        [],
        dict(schedule=dict(iters=1)),
        dict(schedule=dict(), sampler=dict(scores=torch.ones(3))),
        dict(schedule=dict(iters=1), sampler=dict()),
        dict(schedule=dict(iters=1), sampler=dict(scores=[1.0])),
        dict(schedule=[], sampler=dict(scores=torch.ones(3))),
    ],
    ids=['a list', 'no sampler', 'no iterations', 'no scores', 'scores in a list', 'a schedule'],
)
def test_losses_of_a_damaged_state_are_refused(tmp_path, state):
    torch.save(dict(infobatch=state), tmp_path / 'epoch_1.pth')
    with pytest.raises(ValueError, match='epoch_1.pth has no losses: its InfoBatch state is dam'):
        logged_losses([tmp_path / 'epoch_1.pth', tmp_path / 'epoch_1.pth'])


def test_moving_averages_are_no_losses(tmp_path):
    runner = small_runner(
        tmp_path,
        dict(type='InfoBatchEpochLoop', max_epochs=2),
        sampler=dict(score_smoothing=0.9),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
    )
    runner.train()
    with pytest.raises(ValueError, match=r'are moving averages \(score_smoothing=0.9\)'):
        logged_losses([tmp_path / 'epoch_1.pth', tmp_path / 'epoch_2.pth'])


@pytest.mark.parametrize(
    'arguments, words',
    [
        (
            ['forgetting', 'nowhere.pth', '--out', 'x.npy'],
            "checkpoint 'nowhere.pth' does not exist",
        ),
        (['forgetting', '{stock}', '{stock}', '--out', 'x.npy'], 'without InfoBatch'),
        (['forgetting', '{stock}', '--out', 'x.npy'], 'two checkpoints'),
        (['el2n', '{seg}', '{stock}', '--out', 'x.npy'], 'classification'),
    ],
)
def test_what_cannot_be_scored_is_refused(tmp_path, capsys, arguments, words):
    torch.save(dict(state_dict={}), tmp_path / 'stock.pth')
    runs.segmentation_config('data', str(tmp_path)).dump(tmp_path / 'seg.py')
    names = dict(stock=tmp_path / 'stock.pth', seg=tmp_path / 'seg.py')
    with pytest.raises(SystemExit, match='2'):
        cli.main(['scores', *(argument.format(**names) for argument in arguments)])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('mm-infobatch scores: error: ') and words in line


def test_policies_are_compared_at_equal_saving(trained, tmp_path, capsys):
    folder, _ = trained
    out = tmp_path / 'compare.json'
    compare_policies.main(
        [
            str(folder / 'config.py'),
            str(folder / 'run' / 'epoch_2.pth'),
            str(folder / 'run' / 'epoch_5.pth'),
            '--num-samples',
            '5000',
            '--repeats',
            '2',
            '--plans',
            '300',
            '--saving',
            '0.3',
            '--json',
            str(out),
        ]
    )
    printed = capsys.readouterr().out
    result = json.loads(out.read_text())
    assert json.loads(printed) == result
    tables = render('<!-- policies: compare.json -->\n<!-- end of table -->', tmp_path)
    assert tables.count('| TargetSaving ') == 3 and 'A plan of 5,000 samples' in tables
    rows = result['times']['rows']
    assert len(rows) >= 12 and rows[0]['policy'] == 'SoftPruning'
    # The groups of SeTa are those of a random share of the samples.
    assert all(abs(row['skipped'] - 0.3) < 0.001 for row in rows if row['policy'] != 'SeTa')
    kept = {row['policy']: row['state_bytes'] for row in rows if row['state_bytes']}
    assert kept == {'UCB': 8, 'RePB': 4, 'IES': 20, 'IES, rescale': 20}
    assert [each['checkpoint'] for each in result['gradients']] == ['epoch_2', 'epoch_5']
    for each in result['gradients']:
        assert each['num_samples'] == NUM_IMAGES and len(each['rows']) >= 8
        for row in each['rows']:
            # Few samples: a plan rounds to whole ones in each of its groups.
            assert abs(row['skipped'] - 0.3) < 3 / NUM_IMAGES or row['policy'] == 'SeTa'
            assert -1 <= row['cosine'] <= 1 + 1e-9
            scale = row['variance'] * 299 / 300 + row['bias']
            assert row['error'] == pytest.approx(scale, rel=1e-6)
        # The bias of an unbiased policy is what 300 plans leave of its variance: on average a
        # 300th of it, and ten times that is far out.
        by_name = {row['policy']: row for row in each['rows']}
        assert each['batch_size'] == 4
        # Skipping at random leaves the gradients as noisy as they are.
        assert by_name['RandomPruning, rescale']['best_mean_weight'] == pytest.approx(1, abs=0.05)
        assert by_name['RandomPruning']['best_mean_weight'] is None
        for name in ('TargetSaving', 'RandomPruning, rescale'):
            assert by_name[name]['bias'] < by_name[name]['variance'] / 30
        assert by_name['RandomPruning']['bias'] == pytest.approx(0.3**2, rel=0.5)


def test_a_biased_policy_has_no_best_mean_weight_though_its_weights_sum_to_n(tmp_path):
    scores = 0.5 * torch.rand(200, generator=torch.Generator().manual_seed(0))
    products = torch.outer(scores, scores).double()  # the higher the score, the longer
    rows = compare_gradients(products, scores, 0.3, 100, tmp_path, 8)
    best = {row['policy']: row['best_mean_weight'] for row in rows}
    assert best['KAKURENBO'] is None and best['TargetSaving'] > 0


def test_the_best_mean_weight_by_hand():
    # Two gradients of (1, 1), two of 0: |g|^2 is 1 on average, |E g|^2 1/3, so that a batch of 3
    # has as much noise as signal. One of the zeros is skipped, the other stands for it. A kept
    # gradient has 8/6 of the second moment, at steps 4/3 as long: 3/4 at normalized weights.
    gradients = torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]).double()
    weights = torch.tensor([[1.0, 1.0, 2.0, 0.0], [1.0, 1.0, 0.0, 2.0]]).double()
    best = best_mean_weight(gradients @ gradients.t(), weights, 3)
    assert best == pytest.approx((1 + 1) / (1 + 3 / 4))


def test_the_gradients_that_are_compared_are_those_of_the_samples(trained):
    folder, recorder = trained
    cfg = Config.fromfile(str(folder / 'config.py'))
    classifier.prepare(cfg)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        dataset, model = classifier.build_train_set(cfg), classifier.build_model(cfg)
        checkpoint = read_checkpoint(folder / 'run' / 'epoch_5.pth')
        model.load_state_dict(checkpoint['state_dict'])
        losses, products = gradients_of(model, dataset, 6)
        batch = classifier.collate([dataset[index] for index in range(6)])
        data = model.data_preprocessor(batch, training=False)
        loss = model.loss(data['inputs'], data['data_samples'])['loss']
    loss.backward()
    whole = sum(float(parameter.grad.square().sum()) for parameter in model.parameters())
    assert float(losses.mean()) == pytest.approx(float(loss.detach()), rel=1e-5)
    assert float(products.mean()) == pytest.approx(whole, rel=1e-4)


@pytest.mark.parametrize(
    'kind, settings',
    [
        ('OneCycleLR', dict(eta_max=0.2, total_steps=4)),
        ('CosineAnnealingLR', dict(T_max=4)),
        ('PolyLR', dict(power=0.9)),
        ('MultiStepLR', dict(milestones=[2])),
        ('LinearLR', dict(start_factor=0.1)),
        ('ReduceOnPlateauLR', dict(monitor='loss')),
    ],
)
def test_a_checkpoint_is_read_whatever_scheduler_it_has(tmp_path, kind, settings):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = getattr(mmengine.optim.scheduler, kind)(optimizer, **settings)
    torch.save(dict(param_schedulers=[scheduler.state_dict()]), tmp_path / 'epoch_1.pth')
    (state,) = read_checkpoint(tmp_path / 'epoch_1.pth')['param_schedulers']
    assert state['param_name'] == 'lr' and state.keys() == scheduler.state_dict().keys()


ARMS = {
    f'{name}/{key}': arm
    for name in available()
    if name.startswith('stability_')
    for key, arm in load_experiment(name).arms.items()
}


@pytest.mark.parametrize('name', ARMS)
def test_every_arm_of_the_study_builds_its_sampler_and_shortens_its_schedule(name):
    arm = ARMS[name]
    cfg = make_config(settings(arm, 0, ROOT / 'records'))
    sampler = dict(cfg.train_dataloader.sampler)
    assert sampler.pop('type') == 'InfoBatchSampler'
    built = InfoBatchSampler(range(10), seed=0, **sampler)
    assert built.delta == arm.infobatch.get('delta', 0.875)
    for key, value in arm.options.items():
        prefix, _, switch = key.rpartition('.')
        assert prefix != 'train_dataloader.sampler' or sampler[switch] == value
    assert cfg.param_scheduler.total_steps == cfg.train_cfg.max_epochs
    assert cfg.train_cfg.max_epochs == (7 if arm.name == 'fewer_epochs' else 10)


def test_the_papers_tables_have_their_arms_and_the_numbers_of_the_study():
    whole = text('stability_fashion_mnist, worst').splitlines()
    for name, count in (('table3_fashion_mnist', 6), ('table4_fashion_mnist', 3)):
        rows = [line.split('|')[1:] for line in text(f'{name}, worst').splitlines()[2:]]
        assert len(rows) == count and rows[-1][0].strip() == 'all data'
        for row in rows:
            (same,) = [
                line.split('|')[1:] for line in whole if line.startswith(f'| {row[0].strip()} ')
            ][:1]
            assert [each.strip() for each in row] == [each.strip() for each in same]


def test_every_table_of_the_document_is_what_the_records_say():
    document = (ROOT / 'docs' / 'ablations.md').read_text()
    assert PLACE.search(document)
    assert render(document) == document
    changed = document.replace('| SoftPruning ', '| HardPruning ', 1)  # control
    assert changed != document == render(changed)


def test_the_document_names_every_policy_and_every_switch():
    document = DOCUMENT.read_text()
    PRUNING_POLICIES.get('SoftPruning')
    policies = [
        name
        for name, kind in PRUNING_POLICIES.module_dict.items()
        if kind.__module__.startswith('mm_infobatch')
    ]
    assert len(policies) == 13
    switches = ['warmup_passes', 'score_smoothing', 'batch_score', 'stratify', 'delta', 'rescale']
    for word in [*policies, *switches]:
        assert f'`{word}' in document, word


def test_every_link_of_the_document_to_a_file_leads_to_one():
    links = re.findall(r'\]\(([^)#]+?)(?:#[^)]*)?\)', DOCUMENT.read_text())
    local = [link for link in links if '://' not in link]
    assert [link for link in local if not (DOCUMENT.parent / link).exists()] == []
    for path in re.findall(
        r'`((?:tools|tests|configs|mm_infobatch)/[\w./-]+)`', DOCUMENT.read_text()
    ):
        assert (ROOT / path).exists(), path
