"""Every checkpoint that a run cannot go on from is refused, and nothing is pruned by it."""

import copy
import json
import math

import pytest
import toolbox_runs as runs
import torch

from mm_infobatch.training.changes import changed_settings
from mm_infobatch.training.state import check_state

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]
DELETE = object()


def case(name, holds):
    return pytest.mark.case('Resumed with something else', name, holds)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return runs.write_classification_data(tmp_path_factory.mktemp('cls'))


def config(data, work_dir, **kwargs):
    """Five epochs of 16 images at batch size 4, a checkpoint after every iteration and epoch."""
    cfg = runs.classification_config(data, work_dir, max_epochs=5, **kwargs)
    cfg.custom_hooks = [dict(type='CheckpointHook', by_epoch=True, interval=1)]
    return runs.switch_on(runs.checkpoints_every(cfg, 1), delta=0.8)


@pytest.fixture(scope='module')
def run(data, tmp_path_factory):
    """A run, with a checkpoint of each moment."""
    cfg = config(data, str(tmp_path_factory.mktemp('run')))
    return runs.train(cfg)


@pytest.fixture(scope='module')
def checkpoint(run):
    """One from the middle of a pass that prunes."""
    rows = run.rows
    done = next(i for i in range(2, len(rows)) if rows[i]['pass'] == rows[i - 1]['pass'] == 2)
    path = f'{run.runner.work_dir}/iter_{done}.pth'
    checkpoint = torch.load(path, weights_only=False)
    state = checkpoint['infobatch']
    assert len(state['sampler']['order']) < 16 and len(state['losses'])
    return checkpoint


def changed(state, path, value):
    """A copy of the state with another value at a dotted path."""
    state = copy.deepcopy(state)
    *parents, key = path.split('.')
    node = state
    for parent in parents:
        node = node[int(parent)] if isinstance(node, list) else node[parent]
    if value is DELETE:
        del node[key]
    else:
        node[key] = value(node[key]) if callable(value) else value
    return state


def with_value(index, value):

    def set_value(tensor):
        tensor = tensor.clone()
        tensor[index] = value
        return tensor

    return set_value


BROKEN = {
    'of another version': ('version', 3, 'it is of version 3'),
    'without a version': ('version', DELETE, 'it is of version None'),
    'without its schedule': ('schedule', DELETE, 'it has no schedule'),
    'without its sampler': ('sampler', DELETE, 'it has no sampler'),
    'without its losses': ('losses', DELETE, 'it has no losses'),
    'whose sampler is a list': ('sampler', [], 'sampler is a list, not a dict'),
    'without its scores': ('sampler.scores', DELETE, 'sampler has no scores'),
    'without its position': ('sampler.consumed', DELETE, 'sampler has no consumed'),
    'without its step': ('schedule.pass_iter', DELETE, 'schedule has no pass_iter'),
    'with float64 scores': ('sampler.scores', lambda x: x.double(), r'has to be torch.float32'),
    'with scores in a list': ('sampler.scores', lambda x: x.tolist(), 'is a list'),
    'with scores of two dimensions': ('sampler.scores', lambda x: x[None], r'of shape \[1, 16\]'),
    'with an infinite score': ('sampler.scores', with_value(3, math.inf), 'an infinite score'),
    'with int16 indices': ('sampler.order', lambda x: x.short(), 'has to be torch.int64'),
    'with float indices': ('sampler.order', lambda x: x.float(), 'has to be torch.int64'),
    'with an index beyond the dataset': (
        'sampler.order',
        with_value(0, 16),
        'goes from . to 16, but there are scores of 16 samples',
    ),
    'with a negative index': ('sampler.order', with_value(0, -1), 'goes from -1'),
    'with a sample twice': (
        'sampler.order',
        lambda x: with_value(0, int(x[1]))(x),
        'a sample more than once',
    ),
    'with an empty pass': ('sampler.order', lambda x: x[:0], 'order is empty'),
    'with a NaN weight': ('sampler.weights', with_value(1, math.nan), 'is NaN, infinite or not'),
    'with an infinite weight': ('sampler.weights', with_value(1, math.inf), 'is NaN, infinite'),
    'with a weight of 0': (
        'sampler.weights',
        with_value(1, 0.0),
        'is NaN, infinite or not above 0',
    ),
    'with too few weights': ('sampler.weights', lambda x: x[1:], 'sampler.weights has to be'),
    'with float16 weights': ('sampler.weights', lambda x: x.half(), 'has to be torch.float32'),
    'with a count below 0': ('sampler.tracked.trained', with_value(3, -1), 'a count below 0'),
    'with counts of another type': (
        'sampler.tracked.trained',
        lambda x: x.int(),
        'sampler.tracked.trained has to be torch.int16',
    ),
    'with too few counts': ('sampler.tracked.trained', lambda x: x[1:], 'has to be torch.int16'),
    'with a mean that is no number': (
        'sampler.tracked.mean',
        with_value(3, math.nan),
        'mean is not a number where, and only where',
    ),
    'with an infinite mean': (
        'sampler.tracked.mean',
        with_value(3, math.inf),
        'mean is not a number where, and only where',
    ),
    'with a mean of nothing': (
        'sampler.tracked',
        lambda x: dict(x, trained=with_value(3, 0)(x['trained'])),
        'mean is not a number where, and only where',
    ),
    'with squares below 0': (
        'sampler.tracked.squares',
        with_value(3, -1.0),
        'squares holds a sum that is NaN, infinite or below 0',
    ),
    'with unfinished samples that there are not': (
        'sampler.tracked.unfinished',
        lambda x: torch.tensor([3, 10**9]),
        'unfinished names samples that are not in',
    ),
    'with a part of what is tracked': ('sampler.tracked.passes', DELETE, 'tracked has no passes'),
    'with passes of text': ('sampler.tracked.passes', '3', "passes='3' is not an integer"),
    'with nothing tracked': ('sampler.tracked', None, 'tracked is a NoneType, not a dict'),
    'with too few losses': ('losses', lambda x: x[1:], 'losses has to be torch.float32'),
    'with float64 losses': ('losses', lambda x: x.double(), 'losses has to be torch.float32'),
    'with more merged than trained': ('merged', 1000, 'merged=1000 is greater than'),
    'with a position of text': ('sampler.consumed', '4', "consumed='4' is not an integer"),
    'with a negative position': ('sampler.consumed', -4, 'consumed=-4 is not an integer from 0'),
    'with a position of True': ('schedule.pass_iter', True, 'pass_iter=True is not an integer'),
    'with more steps done than there are': (
        'schedule.pass_iter',
        99,
        'is greater than schedule.pass_iters',
    ),
    'of another pass': ('sampler.epoch', 1, 'sampler.epoch=1 is not schedule.pass_index=2'),
    'with no seed': ('sampler.seed', None, 'sampler.seed=None is not an integer'),
    'with a threshold of text': ('sampler.threshold', 'mean', 'is not a finite number'),
    'walked beyond its pass': ('schedule.walked', 10**6, 'lies outside its pass'),
    'with no budget that there is': ('schedule.budget', 'time', "schedule.budget='time'"),
    'with a pass of no length': ('schedule.pass_length', 0, 'is not an integer from 1'),
    'with a logged loss of text': ('loss_all_data', ['1'], 'loss_all_data is not a list of numb'),
    'with one logged loss': ('loss_all_data', 1.0, 'loss_all_data is not a list of numbers'),
    'without records': ('records', [], 'records is not a list of passes'),
    'with records of text': ('records', 'none', 'records is not a list of passes'),
    'with a record of another pass': ('records', lambda x: x[:-1], 'its last record is of pass 1'),
    'with a record that lacks a number': ('records.0.trained', DELETE, r'records\[0\] has no trai'),
    'with a record of text': ('records.0.trained', 'all', "trained='all' is not a finite number"),
}


@case('a state that is broken in one place', 'one error before anything is trained')
@pytest.mark.parametrize('name', list(BROKEN))
def test_a_state_is_refused(checkpoint, name):
    path, value, reason = BROKEN[name]
    with pytest.raises(ValueError, match=f'cannot resume from .*{reason}.*resume=False'):
        check_state(changed(checkpoint['infobatch'], path, value))


@case('something else where the state should be', 'one error before anything is trained')
@pytest.mark.parametrize('state', [None, [], 'text', torch.zeros(3)])
def test_something_else_under_our_key_is_refused(state):
    with pytest.raises(ValueError, match=f'it is a {type(state).__name__}, not a dict'):
        check_state(state)


@case('a state of another moment than the checkpoint', 'one error before anything is trained')
def test_every_state_that_a_run_saved_passes(run):
    paths = [f'iter_{row["iter"] + 1}.pth' for row in run.rows]
    paths += [f'epoch_{epoch}.pth' for epoch in range(1, 6)]
    for path in paths:
        checkpoint = torch.load(f'{run.runner.work_dir}/{path}', weights_only=False)
        check_state(
            checkpoint['infobatch'], checkpoint['meta']['iter'], checkpoint['meta']['epoch']
        )


def test_a_state_of_another_moment_than_the_checkpoint_is_refused(checkpoint):
    state, iters = checkpoint['infobatch'], checkpoint['meta']['iter']
    check_state(state, iters)
    with pytest.raises(ValueError, match=f'it is of iteration {iters}, but the checkpoint is of'):
        check_state(state, iters + 1)


# A few through a whole run: what is refused is refused before anything is trained.
@case('a checkpoint of an iteration loop in an epoch loop', 'one error before anything is trained')
@case('a state that is broken in one place, a whole run', 'one error before anything is trained')
@pytest.mark.parametrize(
    'name',
    [
        'of another version',
        'without its scores',
        'with an index beyond the dataset',
        'with a NaN weight',
        'with too few losses',
    ],
)
def test_a_run_from_a_broken_state_trains_nothing(data, checkpoint, tmp_path, name):
    path, value, reason = BROKEN[name]
    broken = dict(checkpoint, infobatch=changed(checkpoint['infobatch'], path, value))
    torch.save(broken, tmp_path / 'broken.pth')
    cfg = runs.resumed(config(data, str(tmp_path)), tmp_path / 'broken.pth')
    runner, recorder = runs.build(cfg)
    with pytest.raises(ValueError, match=reason):
        runner.train()
    assert recorder.rows == []
    assert not (tmp_path / 'infobatch.json').exists()


def test_a_checkpoint_of_an_iteration_loop_is_refused_by_an_epoch_loop(data, tmp_path):
    """It says that no epoch is done, so the epoch loop would train its pass again and again."""
    cfg = config(data, str(tmp_path / 'iterations'))
    cfg.custom_hooks = cfg.custom_hooks[1:]
    cfg.train_cfg = dict(type='InfoBatchIterLoop', max_iters=20)
    cfg.log_processor.by_epoch = cfg.default_hooks.logger.log_metric_by_epoch = False
    cfg.param_scheduler = None
    whole = runs.train(cfg)
    done = next(row['iter'] for row in whole.rows if row['pass'] == 2) + 1
    cfg = runs.resumed(
        config(data, str(tmp_path / 'epochs')), tmp_path / 'iterations' / f'iter_{done}.pth'
    )
    with pytest.raises(
        ValueError, match='it is of pass 2 .from 0., but the checkpoint is of epoch'
    ):
        runs.train(cfg)


@case('a checkpoint of a run without InfoBatch', 'a warning; the next pass prunes nothing')
def test_a_checkpoint_without_our_state_scores_afresh(data, run, checkpoint, tmp_path):
    without = {key: value for key, value in checkpoint.items() if key != 'infobatch'}
    torch.save(without, tmp_path / 'without.pth')
    ours = runs.train(runs.resumed(config(data, str(tmp_path)), tmp_path / 'without.pth'))
    assert 'holds no state of InfoBatch' in runs.log_of(tmp_path)
    assert ours.column('iter')[0] == checkpoint['meta']['iter']
    scores, plan = ours.passes[0]
    assert torch.isnan(scores).all() and plan.pruned == 0
    assert ours.passes[1][1].pruned > 0


@case('a dataset of another length', 'one error before anything is trained')
@pytest.mark.parametrize('num_images', [15, 17])
def test_a_checkpoint_of_another_length_is_refused(run, tmp_path, num_images):
    data = runs.write_classification_data(tmp_path / 'data', num_images=num_images)
    cfg = runs.resumed(config(data, str(tmp_path)), f'{run.runner.work_dir}/iter_{middle(run)}.pth')
    runner, recorder = runs.build(cfg)
    with pytest.raises(ValueError, match=f'of 16 samples, but the .* has {num_images}'):
        runner.train()
    assert recorder.rows == []


# -------------------------------------------------------------- a checkpoint, other settings


def go_on(data, run, tmp_path, done, **kwargs):
    cfg = config(data, str(tmp_path), **kwargs)
    return runs.resumed(cfg, f'{run.runner.work_dir}/iter_{done}.pth')


def middle(run):
    rows = run.rows
    return next(i for i in range(2, len(rows)) if rows[i]['pass'] == rows[i - 1]['pass'] == 2)


@case('another policy', 'a warning; it holds from the next pass on')
def test_the_same_settings_are_not_mentioned(data, run, tmp_path):
    runs.train(go_on(data, run, tmp_path, middle(run)))
    assert 'other settings' not in runs.log_of(tmp_path)


@case('another delta', 'a warning; it holds from the next pass on')
def test_another_policy_chooses_from_the_next_pass_on(data, run, tmp_path):
    done = middle(run)
    cfg = go_on(data, run, tmp_path, done)
    cfg.train_dataloader.sampler.policy.prune_ratio = 0
    ours = runs.train(cfg)
    assert (
        'policy SoftPruning(prune_ratio=0.5) -> SoftPruning(prune_ratio=0) (from the next pass on)'
    ) in runs.log_of(tmp_path)
    for key in ('indices', 'weights'):
        rest = [row[key] for row in run.rows[done:] if row['pass'] == 2]
        assert ours.column(key)[: len(rest)] == rest
    assert [plan.pruned > 0 for _, plan in ours.passes] == [True, False, False]
    assert [plan.pruned > 0 for _, plan in run.passes] == [False, True, True, True, False]


@case('another batch size', 'a warning; what is due is trained once')
def test_another_delta_holds_from_the_next_pass_on(data, run, tmp_path):
    cfg = go_on(data, run, tmp_path, middle(run))
    cfg.train_dataloader.sampler.delta = 0.5
    ours = runs.train(cfg)
    assert 'delta 0.8 -> 0.5 (from the next pass on)' in runs.log_of(tmp_path)
    assert [plan.pruned > 0 for _, plan in ours.passes] == [True, False, False]


@case('another seed', 'a warning; that of the checkpoint stays')
def test_another_batch_size_is_named_and_trains_what_is_due(data, run, tmp_path):
    done = middle(run)
    ours = runs.train(go_on(data, run, tmp_path, done, batch_size=3))
    assert 'batch_size 4 -> 3 (at once)' in runs.log_of(tmp_path)
    due = [index for row in run.rows[done:] if row['pass'] == 2 for index in row['indices']]
    assert ours.by_pass('indices')[0] == due


def test_another_seed_is_named_and_that_of_the_checkpoint_stays(data, run, tmp_path):
    done = middle(run)
    cfg = go_on(data, run, tmp_path, done)
    cfg.train_dataloader.sampler.seed = 99
    ours = runs.train(cfg)
    assert 'seed 7 -> 99 (not at all: the seed of the checkpoint stays)' in runs.log_of(tmp_path)
    assert ours.column('indices') == run.column('indices')[done:]
    assert runs.report_of(tmp_path)['settings']['seed'] == 7


@pytest.mark.default_cases('passes-iterations')
@case('another budget', 'a warning; it holds at once')
@pytest.mark.parametrize('first, second', [('passes', 'iterations'), ('iterations', 'passes')])
def test_another_budget_holds_at_once(data, tmp_path, first, second):
    cfg = config(data, str(tmp_path / 'first'))
    cfg.custom_hooks = cfg.custom_hooks[1:]
    cfg.train_cfg = dict(type='InfoBatchIterLoop', max_iters=20, budget=first)
    cfg.log_processor.by_epoch = cfg.default_hooks.logger.log_metric_by_epoch = False
    cfg.param_scheduler = dict(type='LinearLR', start_factor=0.5, begin=0, end=20, by_epoch=False)
    run = runs.train(cfg)
    done = middle(run)
    walked = torch.load(tmp_path / 'first' / f'iter_{done}.pth', weights_only=False)['infobatch'][
        'schedule'
    ]
    cfg = runs.resumed(cfg, tmp_path / 'first' / f'iter_{done}.pth', tmp_path / 'second')
    cfg.train_cfg.budget = second
    ours = runs.train(cfg)
    assert f'budget {first} -> {second} (at once)' in runs.log_of(tmp_path / 'second')
    assert ours.column('indices')[:1] == run.column('indices')[done : done + 1]
    if second == 'iterations':
        assert len(ours.rows) == 20 - walked['walked']
    else:
        passes = [len(indices) for indices in ours.by_pass('indices')]
        assert sum(passes) < 4 * (20 - walked['walked']) and passes[-1] <= 16
    assert {row['max_iters'] for row in ours.rows[-4:]} == {done + len(ours.rows)}
    ends = [recorder.runner.optim_wrapper.get_lr()['lr'][0] for recorder in (run, ours)]
    assert ends[0] == pytest.approx(ends[1], rel=1e-12) == pytest.approx(0.05)


def test_nothing_is_said_of_a_checkpoint_that_kept_no_settings():
    now = dict(policy='a', delta=1, pass_length=3)
    assert changed_settings(None, now) is None
    assert changed_settings(dict(policy='a'), now) is None
    assert 'policy b -> a' in changed_settings(dict(policy='b'), now)
    now, before = dict(now, score_smoothing=0.9, stratify=True), dict(score_smoothing=0.0)
    assert changed_settings(before, now).count('->') == 1  # of stratify it says nothing
    assert 'score_smoothing 0.0 -> 0.9 (at once)' in changed_settings(before, now)


# ---------------------------------------------------------------------- infobatch.json


@pytest.mark.default_cases('not JSON', '[[][]]')
@case('infobatch.json truncated, foreign or no JSON', 'replaced; nothing is read from it')
@pytest.mark.parametrize(
    'content',
    [
        '',
        '{"version": 1, "settings": {"pol',
        'not JSON',
        '[]',
        json.dumps(dict(version=1, settings={}, passes=[], totals=dict(finished=True))),
    ],
)
def test_a_report_that_is_truncated_or_of_another_run_is_replaced(data, run, tmp_path, content):
    """Nothing is read from it: the checkpoint has the records."""
    (tmp_path / 'infobatch.json').write_text(content)
    (tmp_path / 'infobatch.json.tmp').write_text(content)
    done = middle(run)
    ours = runs.train(go_on(data, run, tmp_path, done))
    assert ours.column('indices') == run.column('indices')[done:]
    passes = runs.report_of(tmp_path)['passes']
    expected = runs.report_of(run.runner.work_dir)['passes']
    for left, right in zip(passes, expected):
        assert dict(left, seconds=0) == dict(right, seconds=0)
    assert len(passes) == len(expected) == 5


@case('infobatch.json cannot be written', 'a warning, once; the run ends as any')
@pytest.mark.parametrize('name', ['infobatch.json', 'infobatch.json.tmp'])
def test_a_report_that_cannot_be_written_is_named_once_and_the_run_goes_on(
    data, run, tmp_path, name
):
    (tmp_path / name / 'in the way').mkdir(parents=True)
    ours = runs.train(config(data, str(tmp_path)))
    runs.assert_same_state(ours.state, run.state)
    assert runs.log_of(tmp_path).count('infobatch.json cannot be written') == 1
    checkpoint = torch.load(tmp_path / f'iter_{len(ours.rows)}.pth', weights_only=False)
    assert len(checkpoint['infobatch']['records']) == 5
