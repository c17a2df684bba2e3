"""Two real processes over gloo."""

import json
from pathlib import Path
from types import SimpleNamespace

import launch as launcher
import pytest
import toolbox_runs as runs
import torch
from mmengine.registry import MODELS
from torch.utils.checkpoint import checkpoint

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]

# 25 images on two processes at batch size 2: 7 iterations a pass, whose last round is filled up.
NUM_SAMPLES, LENGTH, NUM_PASSES = 25, 7, 5


def recorded(cfg, stall_at=None):
    """The config of a run that writes what each of its processes does."""
    cfg = runs.copy_of(cfg)
    path = str(Path(cfg.work_dir) / 'rank{rank}.jsonl')
    cfg.custom_hooks = [*cfg.custom_hooks, dict(type='Recorder', path=path, stall_at=stall_at)]
    return cfg


def launch(cfg, *args):
    """Train on two processes, and return what each of them did."""
    launcher.launch(recorded(cfg), *args)
    return records(cfg.work_dir)


def records(work_dir):
    paths = [Path(work_dir) / f'rank{rank}.jsonl' for rank in range(2)]
    return SimpleNamespace(
        work_dir=Path(work_dir),
        ranks=[[json.loads(line) for line in path.read_text().splitlines()] for path in paths],
        states=[torch.load(f'{path}.pth', weights_only=False) for path in paths],
    )


def launch_and_kill(cfg, at):
    """Train on two processes, and kill them all before an iteration begins."""
    paths = [Path(cfg.work_dir) / f'rank{rank}.jsonl' for rank in range(2)]
    ranks = launcher.start(recorded(cfg, stall_at=at))
    try:
        assert ranks.wait_for(*(Path(f'{path}.stalled') for path in paths)), ranks.said()
    finally:
        ranks.kill()
    for rank, path in enumerate(paths):
        path.rename(path.with_name(f'rank{rank}.killed'))


def moment_in_a_pruned_pass(rows):
    """Iterations done at a checkpoint inside the second or third pass, and the pass."""
    for before, after in zip(rows, rows[1:]):
        if after['iter'] % 4 == 0 and before['pass'] == after['pass'] >= 1:
            return after['iter'], after['pass']
    raise AssertionError('choose another seed: no checkpoint lies inside a pruned pass')


@pytest.fixture(scope='module')
def seg_config(tmp_path_factory):
    folder = tmp_path_factory.mktemp('seg')
    data = runs.write_segmentation_data(folder / 'data', num_images=NUM_SAMPLES)
    cfg = runs.segmentation_config(data, folder / 'whole', max_iters=NUM_PASSES * LENGTH)
    return runs.switch_on(runs.checkpoints_every(cfg, 4), delta=0.8)


@pytest.fixture(scope='module')
def cls_config(tmp_path_factory):
    folder = tmp_path_factory.mktemp('cls')
    data = runs.write_classification_data(folder / 'data', num_images=NUM_SAMPLES)
    cfg = runs.classification_config(data, folder / 'whole', max_epochs=NUM_PASSES, batch_size=2)
    return runs.switch_on(runs.checkpoints_every(cfg, 4), delta=0.8)


@pytest.fixture(scope='module')
def seg_run(seg_config):
    launcher.launch_by_script(recorded(seg_config))
    return records(seg_config.work_dir)


@pytest.fixture(scope='module')
def cls_run(cls_config):
    return launch(cls_config)


@pytest.fixture(params=['mmseg', pytest.param('mmpretrain', marks=pytest.mark.runs)])
def whole(request):
    """A run of two processes that was never interrupted, and its config."""
    name = 'seg' if request.param == 'mmseg' else 'cls'
    run = request.getfixturevalue(f'{name}_run')
    run.cfg = request.getfixturevalue(f'{name}_config')
    return run


def flat(rows, key, index=None):
    return [value for row in rows if index in (None, row['pass']) for value in row[key]]


def interleaved(ranks, key, index):
    """What two processes did in a pass, in the order of the pass."""
    pairs = zip(*(flat(rows, key, index) for rows in ranks))
    return [value for pair in pairs for value in pair]


# --------------------------------------------------------------------------- plans


def test_both_processes_take_the_same_steps_at_the_same_learning_rate(whole):
    left, right = whole.ranks
    for key in ('iter', 'pass', 'batch_idx', 'lr', 'max_iters'):
        assert [row[key] for row in left] == [row[key] for row in right], key
    assert [len(row['indices']) for row in left] == [len(row['indices']) for row in right]
    assert len(left) < NUM_PASSES * LENGTH
    assert left[-1]['max_iters'] == len(left)


def test_both_processes_hold_the_same_scores_in_every_iteration(whole):
    left, right = ([row['scores'] for row in rows] for rows in whole.ranks)
    assert left == right
    assert len(set(left)) == NUM_PASSES


def test_both_processes_end_with_the_same_parameters(whole):
    runs.assert_same_state(*whole.states)


def test_the_shares_are_disjoint_but_for_the_last_round(whole):
    report = runs.report_of(whole.work_dir)
    kept = [record['kept'] for record in report['passes']]
    assert kept[0] == kept[-1] == NUM_SAMPLES and all(k < NUM_SAMPLES for k in kept[1:-1])
    for index, count in enumerate(kept):
        order = interleaved(whole.ranks, 'indices', index)
        assert len(order) == count + count % 2
        assert len(set(order[:count])) == count
        assert order[count:] == order[: count % 2]


def test_the_weights_of_both_processes_together_sum_to_the_number_of_samples(whole):
    for record in runs.report_of(whole.work_dir)['passes']:
        index, count = record['pass'], record['kept']
        weights = interleaved(whole.ranks, 'weights', index)
        assert sum(weights[:count]) == pytest.approx(NUM_SAMPLES, rel=1e-6)
        assert weights[count:] == weights[: count % 2]
        assert (set(weights) == {1.0}) == (record['pruned'] == 0)


def test_the_losses_are_merged_in_one_collective_a_pass_and_one_a_checkpoint(whole):
    for rows in whole.ranks:
        for before, row, after in zip([None, *rows], rows, [*rows[1:], None]):
            begins = before is None or before['pass'] != row['pass']  # do the ranks agree?
            ends = after is None or after['pass'] != row['pass']
            saves = (row['iter'] + 1) % 4 == 0  # the losses, and the states of the generators
            expected = begins + (ends or saves) + saves
            assert row['collectives'] == ['all_gather'] * expected, row['iter']


def test_two_processes_do_what_one_does_with_their_batches_together(whole, tmp_path):
    """Up to rounding: the mean of two means is the mean over the larger batch."""
    cfg = runs.copy_of(whole.cfg)
    cfg.work_dir = str(tmp_path)
    cfg.train_dataloader.batch_size = 4
    cfg = runs.checkpoints_every(cfg, -1)
    alone = runs.train(cfg)
    for index in range(2):
        order = interleaved(whole.ranks, 'indices', index)
        weights = interleaved(whole.ranks, 'weights', index)
        count = len(alone.by_pass('indices')[index])
        assert order[:count] == alone.by_pass('indices')[index]
        assert weights[:count] == alone.by_pass('weights')[index]
    begins = [
        next(row for row in rows if row['pass'] == 1) for rows in (whole.ranks[0], alone.rows)
    ]
    assert begins[0]['scores'] == pytest.approx(begins[1]['scores'], rel=1e-3)


def tracked_at_the_end(run):
    """What the last checkpoint of a run holds of each sample, and its iteration."""
    path = max(run.work_dir.glob('iter_*.pth'), key=lambda path: int(path.stem[len('iter_') :]))
    return torch.load(path, weights_only=False)['infobatch']['sampler']['tracked'], path


def test_both_processes_together_are_tracked(whole):
    """A sample that is repeated to fill up the last round is counted once."""
    state, path = tracked_at_the_end(whole)
    done = int(path.stem[len('iter_') :])
    passes = [record for record in runs.report_of(whole.work_dir)['passes']]
    ended = [each for each in passes if each['begin_iter'] + each['iterations'] <= done]
    assert state['passes'] == len(ended) >= NUM_PASSES - 1
    orders = [interleaved(whole.ranks, 'indices', each['pass'])[: each['kept']] for each in ended]
    counts = torch.bincount(torch.tensor(sum(orders, [])), minlength=NUM_SAMPLES)
    assert torch.equal(state['trained'].long(), counts)
    assert state['mean'].isfinite().all() and (state['squares'] > 0).any()


def test_one_report_and_one_log_are_written(whole):
    report = runs.report_of(whole.work_dir)
    assert report['settings']['world_size'] == 2
    assert report['totals']['finished'] is True
    trained = sum(record['kept'] for record in report['passes'])
    assert report['totals']['samples_trained'] == trained
    assert report['totals']['samples_full'] == NUM_PASSES * NUM_SAMPLES
    assert len(list(whole.work_dir.glob('*/*.log'))) == 1


# -------------------------------------------------------------------------- resume


@pytest.mark.runs
def test_two_processes_with_dropout_resume_bit_for_bit(seg_config, tmp_path):
    """Each rank drops other values; a checkpoint has the states of both ranks' generators."""
    cfg = runs.copy_of(seg_config)
    cfg.work_dir = str(tmp_path / 'whole')
    cfg.model.decode_head.dropout_ratio = cfg.model.auxiliary_head.dropout_ratio = 0.3
    cfg.randomness = dict(seed=7, diff_rank_seed=True)
    whole = launch(cfg)
    assert whole.ranks[0][0]['loss'] != whole.ranks[1][0]['loss']
    done, _ = moment_in_a_pruned_pass(whole.ranks[0])
    again = launch(runs.resumed(cfg, tmp_path / 'whole' / f'iter_{done}.pth', tmp_path / 'again'))
    for ours, theirs in zip(again.ranks, whole.ranks):
        assert [row['loss'] for row in ours] == [row['loss'] for row in theirs[done:]]
    for ours, theirs in zip(again.states, whole.states):
        runs.assert_same_state(ours, theirs)


def test_a_mid_pass_checkpoint_holds_the_losses_of_both_processes(whole):
    done, index = moment_in_a_pruned_pass(whole.ranks[0])
    state = torch.load(whole.work_dir / f'iter_{done}.pth', weights_only=False)['infobatch']
    trained = [row for row in whole.ranks[0] if row['pass'] == index and row['iter'] < done]
    assert len(state['losses']) == state['sampler']['consumed'] == 4 * len(trained)
    assert torch.isfinite(state['losses']).all()


def assert_goes_on(resumed, whole, done):
    for rows, expected in zip(resumed.ranks, whole.ranks):
        assert len(rows) == len(expected) - done
        for key in ('iter', 'pass', 'indices', 'weights', 'lr', 'loss', 'scores', 'max_iters'):
            assert [row[key] for row in rows] == [row[key] for row in expected[done:]], key
    for state in resumed.states:
        runs.assert_same_state(state, whole.states[0])


@pytest.mark.runs
def test_a_run_that_was_killed_in_mid_pass_resumes_bit_for_bit(seg_run, seg_config, tmp_path):
    done, _ = moment_in_a_pruned_pass(seg_run.ranks[0])
    cfg = runs.copy_of(seg_config)
    cfg.work_dir = str(tmp_path)
    launch_and_kill(cfg, at=done + 1)  # one more iteration is lost
    assert (tmp_path / 'last_checkpoint').read_text().endswith(f'iter_{done}.pth')
    assert runs.report_of(tmp_path)['totals']['finished'] is False
    resumed = launch(cfg, '--resume')
    assert_goes_on(resumed, seg_run, done)
    passes = [
        [
            {key: value for key, value in record.items() if key != 'seconds'}
            for record in runs.report_of(work_dir)['passes']
        ]
        for work_dir in (tmp_path, seg_run.work_dir)
    ]
    assert passes[0] == passes[1]


@pytest.mark.runs
def test_an_epoch_based_run_resumes_in_mid_pass_bit_for_bit(cls_run, cls_config, tmp_path):
    done, _ = moment_in_a_pruned_pass(cls_run.ranks[0])
    cfg = runs.copy_of(cls_config)
    cfg.work_dir = str(tmp_path)
    resumed = launch(cfg, '--resume', str(cls_run.work_dir / f'iter_{done}.pth'))
    assert_goes_on(resumed, cls_run, done)


def test_one_process_goes_on_from_two_and_trains_what_was_due_once(whole, tmp_path):
    done, index = moment_in_a_pruned_pass(whole.ranks[0])
    alone = runs.train(runs.resumed(whole.cfg, whole.work_dir / f'iter_{done}.pth', tmp_path))
    record = runs.report_of(whole.work_dir)['passes'][index]
    order = interleaved(whole.ranks, 'indices', index)[: record['kept']]
    weights = interleaved(whole.ranks, 'weights', index)[: record['kept']]
    trained = 4 * sum(row['pass'] == index and row['iter'] < done for row in whole.ranks[0])
    due = [row for row in alone.rows if row['pass'] == index]
    assert flat(due, 'indices') == order[trained:]
    assert flat(due, 'weights') == weights[trained:]
    assert due[0]['lr'] == whole.ranks[0][done]['lr']
    # The rest is the schedule of the two: as many passes, annealing at the same one.
    report = runs.report_of(tmp_path)
    assert [record['annealing'] for record in report['passes']] == [False] * 4 + [True]
    assert report['passes'][index]['trained'] == record['kept']
    assert sorted(alone.by_pass('indices')[-1]) == list(range(NUM_SAMPLES))
    assert report['totals']['finished'] is True
    # The next plan knows the losses of all that the two and the one have trained.
    scores = alone.passes[1][0]
    assert torch.isfinite(scores).all()
    before = torch.load(whole.work_dir / f'iter_{done}.pth', weights_only=False)
    after = runs.tracked(alone.runner)
    trained = order + [each for part in alone.by_pass('indices')[1:] for each in part]
    assert after['passes'] == NUM_PASSES
    assert torch.equal(
        after['trained'] - before['infobatch']['sampler']['tracked']['trained'],
        torch.bincount(torch.tensor(trained), minlength=NUM_SAMPLES).short(),
    )


def test_the_learning_rate_of_one_process_that_goes_on_from_two_follows_progress(whole, tmp_path):
    """Its passes take twice the iterations, so it may not step in each of them."""
    done, index = moment_in_a_pruned_pass(whole.ranks[0])
    alone = runs.train(runs.resumed(whole.cfg, whole.work_dir / f'iter_{done}.pth', tmp_path))
    for later in range(index + 1, NUM_PASSES):
        begins = [
            next(row['lr'] for row in rows if row['pass'] == later)
            for rows in (whole.ranks[0], alone.rows)
        ]
        assert begins[1] == pytest.approx(begins[0], rel=1e-12), later


@pytest.mark.runs
def test_two_processes_go_on_from_one_and_train_what_was_due_once(seg_config, tmp_path):
    cfg = runs.copy_of(seg_config)
    cfg.work_dir = str(tmp_path / 'one')
    alone = runs.train(cfg)
    done, index = moment_in_a_pruned_pass(alone.rows)
    cfg.work_dir = str(tmp_path / 'two')
    both = launch(cfg, '--resume', str(tmp_path / 'one' / f'iter_{done}.pth'))
    due = flat([row for row in alone.rows if row['iter'] >= done], 'indices', index)
    order = interleaved(both.ranks, 'indices', index)
    assert order[: len(due)] == due
    assert len(order) == len(due) + len(due) % 2
    assert [row['lr'] for row in both.ranks[0]] == [row['lr'] for row in both.ranks[1]]
    report = runs.report_of(tmp_path / 'two')
    assert len(report['passes']) == len(runs.report_of(tmp_path / 'one')['passes'])
    assert report['totals']['finished'] is True


@MODELS.register_module()
class CheckpointedHead(MODELS.get('mmpretrain.LinearClsHead')):
    """Evaluates its loss under reentrant gradient checkpointing, if it is told to."""

    def __init__(self, *args, use_reentrant=False, **kwargs):
        super().__init__(*args, **kwargs)
        self.use_reentrant = use_reentrant

    def loss(self, feats, data_samples, **kwargs):
        labels = torch.cat([sample.gt_label for sample in data_samples])

        def trained(inputs):
            return self.loss_module(self.fc(inputs), labels, avg_factor=len(labels))

        if not self.use_reentrant:
            return dict(loss=trained(feats[-1]))
        return dict(loss=checkpoint(trained, feats[-1], use_reentrant=True))


@pytest.mark.runs
def test_gradient_checkpointing_changes_nothing_on_two_processes(tmp_path):
    """Of the blocks of the backbone (``with_cp``) and of the head with its loss."""
    data = runs.write_classification_data(tmp_path / 'data', num_images=24)
    found = []
    for use_reentrant in (False, True):
        cfg = runs.classification_config(data, tmp_path / str(use_reentrant), max_epochs=4)
        cfg.model.head.update(type='CheckpointedHead', use_reentrant=use_reentrant)
        cfg.model.backbone.with_cp = use_reentrant
        cfg = runs.switch_on(cfg, delta=1.0)
        launcher.launch(recorded(cfg), imports=('test_distributed',))
        found.append(records(cfg.work_dir))
    assert any(max(row['weights']) > 1 for row in found[0].ranks[0])
    for plain, anew in zip(*(each.ranks for each in found)):
        for one, other in zip(plain, anew):
            assert all(one[key] == other[key] for key in ('indices', 'weights', 'loss'))
    for plain, anew in zip(*(each.states for each in found)):
        runs.assert_same_state(plain, anew)
