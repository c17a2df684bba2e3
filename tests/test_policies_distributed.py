"""Policies with a state on two real processes over gloo."""

import json

import pytest
import toolbox_runs as runs
import torch
from test_distributed import launch, launch_and_kill, records

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]
NUM_IMAGES = 25


def config(folder, data, policy, batch_score=None):
    cfg = runs.switch_on(
        runs.checkpoints_every(
            runs.classification_config(data, str(folder), max_epochs=7, batch_size=2), 4
        ),
        delta=0.9,
    )
    sampler = cfg.train_dataloader.sampler
    sampler.policy, sampler.stratify = policy, True
    if policy['type'] != 'UCB':
        sampler.score_smoothing = 0.3
    sampler.batch_score = batch_score
    return cfg


@pytest.mark.runs
@pytest.mark.parametrize(
    'policy, batch_score',
    [
        (dict(type='UCB', prune_ratio=0.4, rescale=True), None),
        (dict(type='TargetSaving', saving=0.35, shrink=True), None),
        (dict(type='TargetSaving', saving=0.35, quantile=0.9), 'mean'),
        (dict(type='RePB', prune_ratio=0.5), 'excess'),
    ],
    ids=lambda value: value['type'] if isinstance(value, dict) else str(value),
)
def test_two_processes_make_one_plan_and_resume_it(tmp_path, policy, batch_score):
    data = runs.write_classification_data(tmp_path / 'data', num_images=NUM_IMAGES)
    whole = launch(config(tmp_path / 'whole', data, policy, batch_score))
    first, second = whole.ranks
    runs.assert_same_state(*whole.states)
    assert [row['scores'] for row in first] == [row['scores'] for row in second]
    passes = {}
    for one, other in zip(first, second):
        for row in (one, other):
            passes.setdefault(row['pass'], []).extend(zip(row['indices'], row['weights']))
    report = json.loads((tmp_path / 'whole' / 'infobatch.json').read_text())
    for index, record in enumerate(report['passes']):
        plan = dict(passes[index])
        assert len(plan) == record['kept'] == len(set(passes[index]))
        assert len(passes[index]) - record['kept'] == record['kept'] % 2
        if policy['type'] != 'RePB':
            assert sum(plan.values()) == pytest.approx(NUM_IMAGES, rel=1e-5)
    assert sum(record['pruned'] > 0 for record in report['passes']) == 6
    if policy['type'] == 'TargetSaving':
        assert report['totals']['saving'] == pytest.approx(0.35, abs=0.01)

    # Killed in the middle of the fourth pass, and resumed.
    before = [row for row in first if row['pass'] < 3]
    at = (len(before) // 4 + 1) * 4 + 1
    assert first[at]['pass'] == first[at - 1]['pass'] == 3
    cfg = config(tmp_path / 'again', data, policy, batch_score)
    launch_and_kill(cfg, at)
    launch(cfg, '--resume')
    resumed = records(tmp_path / 'again')
    for rank, rows in zip(resumed.ranks, whole.ranks):
        assert rank[0]['iter'] == at - 1
        for key in ('indices', 'weights', 'lr', 'loss'):
            assert [row[key] for row in rank] == [row[key] for row in rows[at - 1 :]], key
    runs.assert_same_state(resumed.states[0], whole.states[0])
    assert torch.is_tensor(next(iter(whole.states[0].values())))
