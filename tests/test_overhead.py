"""The tool that measures overhead runs, and a sharded plan has the statistics of a whole one."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import toolbox_runs  # noqa: F401  (imports the toolboxes)
import torch
from mmengine.logging import MessageHub

import benchmark_overhead
from experiment_engine.documents import PLACE, render
from mm_infobatch.passes.order import BLOCK, PassOrder, as_integers
from mm_infobatch.policies import Plan
from mm_infobatch.policies.drawing import draw_distinct, draw_subset, prune_at_random
from mm_infobatch.policies.thresholds import below, mean_score
from mm_infobatch.training.report import (
    HISTORY,
    log_loss_of_all_data,
    put_back_loss_of_all_data,
    take_loss_of_all_data,
)

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = """
import torch
class InfoBatch:
    def __init__(self, dataset, num_epochs):
        self.scores, self.sampler = torch.ones(len(dataset)), self
    def reset(self):
        pass
"""


def tool(tmp_path, *arguments):
    out = tmp_path / 'figures.json'
    benchmark_overhead.main([*arguments, '--json', str(out)])
    return json.loads(out.read_text())


def render_file(tmp_path):
    return render('<!-- overhead: figures.json -->\n<!-- end of table -->', tmp_path)


def test_the_tool_measures_planning_steps_and_losses(tmp_path, capsys):
    reference = tmp_path / 'reference' / 'infobatch'
    reference.mkdir(parents=True)
    (reference / 'infobatch.py').write_text(REFERENCE)
    found = tool(
        tmp_path,
        '--sections',
        'planning',
        'tracking',
        'step',
        'cuda',
        '--repeats',
        '2',
        '--steps',
        '60',
        '--num-samples',
        '1000',
        '--reference',
        str(reference.parent),
    )
    assert [row['world_size'] for row in found['planning']['rows']] == [1, 8]
    assert all(0.5 < row['kept'] < 1 for row in found['planning']['rows'])
    assert found['planning']['faster_than_reference'] > 0
    on, off = found['tracking']['rows']
    assert on['checkpoint_bytes'] - off['checkpoint_bytes'] == pytest.approx(10, abs=2)
    assert 0 < on['merge'] < on['planning'] and found['tracking']['histogram'] > 0
    for row in found['step']['rows']:
        assert row['collectives_in_steps'] == 0 and row['merges'] > 1
        assert row['merge_bytes_per_sample'] <= 8
    assert found['cuda']['run'] == torch.cuda.is_available()
    assert json.loads(capsys.readouterr().out) == found
    tables = render_file(tmp_path)
    assert '### What is tracked' in tables
    assert '### In a training step' in tables and '### Planning a pass' in tables


@pytest.mark.runs
def test_the_tool_measures_sizes_losses_and_whole_runs_in_processes_of_their_own(tmp_path):
    tool(tmp_path, '--sections', 'scaling', '--sizes', '1000', '2000', '--repeats', '1')
    found = tool(
        tmp_path,
        '--sections',
        'loss',
        'efficiency',
        '--repeats',
        '1',
        '--shape',
        '4',
        '19',
        '256',
        '256',  # maps of a megabyte, so that they show in the peak of memory
        '--iterations',
        '24',
        '--runs',
        '1',
        '--small',
    )
    assert [row['num_samples'] for row in found['scaling']['rows']] == [1000, 2000]  # kept
    assert found['loss']['time_ratio'] > 0
    assert found['efficiency']['samples_saved'] > 0
    assert 'A whole run' in render_file(tmp_path)


def test_a_reference_that_is_not_there_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        benchmark_overhead.main(['--reference', str(tmp_path), '--sections', 'cuda'])
    assert 'give a checkout' in capsys.readouterr().err


def test_the_tables_of_the_document_are_what_the_record_says():
    document = (ROOT / 'docs' / 'overhead.md').read_text()
    assert PLACE.search(document)
    assert render(document) == document
    records = [ROOT / 'records' / 'overhead' / name for name in ('cpu.json', 'tracking.json')]
    measured = {key for path in records for key in json.loads(path.read_text())}
    assert set(benchmark_overhead.SECTIONS) <= measured


# ------------------------------------------------------------------- planning


def test_integers_are_made_in_blocks_and_in_order():
    numbers = torch.arange(2 * BLOCK + 3, dtype=torch.int32)
    found = list(as_integers(numbers))
    assert found == numbers.tolist() and type(found[0]) is int


@pytest.mark.parametrize('weights', [[1.0, 1.0, 1.0], [2.0, 1.0, 2.0], [3.0, 1.0, 2.0], [2.0] * 3])
def test_a_plan_comes_back_from_its_order(weights):
    plan = Plan(torch.tensor([0, 2, 5]), torch.tensor(weights), 6, 0.5)
    order = PassOrder.of(plan, torch.tensor([5, 4, 2, 1, 0, 3], dtype=torch.int32))
    assert order.indices.tolist() == [5, 2, 0] and order.indices.dtype == torch.int32
    assert order.weights.tolist() == weights[::-1] and order.uniform == (set(weights) == {1})
    again = order.plan
    assert torch.equal(again.indices, plan.indices) and torch.equal(again.weights, plan.weights)
    assert again.threshold == 0.5


@pytest.mark.parametrize('count', [0, 1, 3, 6, 7])
def test_a_subset_has_its_size_and_every_sample_the_same_chance(count):
    # 4 standard deviations on 7 samples: a false alarm once in 2000, and the seed is fixed.
    marked = torch.tensor([1, 0, 1, 1, 0, 1, 1, 1, 0, 1]).bool()
    generator, times = torch.Generator().manual_seed(0), 2000
    total = torch.zeros(10)
    for _ in range(times):
        drawn = draw_subset(marked, count, generator)
        assert int(drawn.sum()) == count and not (drawn & ~marked).any()
        total += drawn
    share = count / 7
    error = (total[marked] / times - share).abs().max()
    assert error <= 4 * math.sqrt(share * (1 - share) / times)


def test_places_are_distinct_however_many_are_drawn():
    for count in range(9):
        found = draw_distinct(8, count, np.random.SFC64(count))
        assert len(set(found.tolist())) == count and set(found.tolist()) <= set(range(8))


# ------------------------------------------------------- a plan past one rank


def sharded_plan(scores, shards, ratio, seed):
    """What docs/billion.md describes: each shard draws from its own samples, by a threshold that
    two sums over the shards give."""
    sums = sum(float(shard.sum(dtype=torch.float64)) for shard in scores.chunk(shards))
    threshold = sums / len(scores)
    weights, begin = torch.zeros(len(scores)), 0
    for number, shard in enumerate(scores.chunk(shards)):
        generator = torch.Generator().manual_seed(seed * shards + number)
        indices, found = prune_at_random(below(shard, threshold), ratio, generator)
        weights[begin + indices] = found
        begin += len(shard)
    return threshold, weights


def test_a_sharded_plan_has_the_threshold_weights_and_expectations_of_a_whole_one():
    # 5 standard deviations on 4000 samples: a false alarm once in 400, and the seeds are fixed.
    scores = -torch.rand(4000, generator=torch.Generator().manual_seed(3)).log()
    mean, times = mean_score(scores), 400
    marked = below(scores, mean)
    total, kept = torch.zeros(4000), []
    for seed in range(times):
        threshold, weights = sharded_plan(scores, 16, 0.5, seed)
        assert threshold == pytest.approx(mean, rel=1e-12)
        assert float(weights.double().sum()) == pytest.approx(4000, abs=1e-2)
        assert (weights[~marked] == 1).all() and float(weights.max()) <= 2
        total += weights
        kept.append(int((weights > 0).sum()))
    # A pruned sample weighs 0 or 2: a standard deviation of 1 in one pass.
    assert float((total / times - 1).abs().max()) < 5 / math.sqrt(times)
    # Each shard rounds down what it skips, so a plan of 16 shards skips at most 16 fewer.
    whole = 4000 - int(marked.sum()) // 2
    assert whole <= min(kept) and max(kept) <= whole + 16


def test_a_plan_whose_shards_use_their_own_means_would_be_another_one():
    # The control: sorted scores in shards, each pruned by its own mean.
    scores = torch.arange(4000.0)
    _, weights = sharded_plan(scores, 16, 0.5, 0)
    own = torch.cat([sharded_plan(shard, 1, 0.5, 0)[1] for shard in scores.chunk(16)])
    assert (weights[2000:] == 1).all() and (own[2000:] != 1).any()


def test_the_history_of_the_loss_over_all_data_stays_short():
    hub = MessageHub('history')
    log_loss_of_all_data(hub, 1.6)  # nothing is logged before a model has given a loss
    assert not hub.log_scalars
    for iteration in range(HISTORY + 20):
        hub.update_scalar('train/loss', 1.0 + iteration)
        log_loss_of_all_data(hub, 1.6)
    values, counts = hub.get_scalar('train/loss_all_data').data
    assert len(values) == len(counts) == HISTORY
    expected = hub.get_scalar('train/loss').mean(10) / 1.6
    assert hub.get_scalar('train/loss_all_data').mean(10) == pytest.approx(expected, rel=1e-12)
    for _ in range(2):  # of two checkpoints of an iteration each has it, in our part alone
        checkpoint = dict(message_hub=hub.state_dict())
        taken = take_loss_of_all_data(checkpoint)
        assert list(checkpoint['message_hub']['log_scalars']) == ['train/loss']
        assert taken == values.tolist()
    put_back_loss_of_all_data(hub, taken)
    log_loss_of_all_data(hub, 1.6)
    again, counts = hub.get_scalar('train/loss_all_data').data
    assert len(again) == len(counts) == HISTORY and again[:-1].tolist() == values[1:].tolist()
