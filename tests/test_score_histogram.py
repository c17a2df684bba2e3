"""The histogram of scores a pass: what is counted, in the report, and in the visualizer."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.registry import VISBACKENDS
from mmengine.visualization import TensorboardVisBackend, Visualizer, WandbVisBackend
from small_runner import small_runner
from toolbox_runs import report_of

from mm_infobatch.training.score_histogram import histogram
from mm_infobatch.training.visualizer import add_histogram, trimmed

NAN = float('nan')


# ------------------------------------------------------------------------ the function


def test_without_a_score_there_is_no_histogram():
    assert histogram(torch.full((3,), NAN)) is None


def test_every_score_is_counted_once_and_the_others_are_unseen():
    scores = torch.empty(10_000).exponential_(generator=torch.Generator().manual_seed(0))
    scores[::7] = NAN
    found = histogram(scores)
    assert found['unseen'] == len(scores[::7])
    assert sum(found['counts']) == len(scores) - found['unseen']


def test_the_histogram_is_numpys_with_the_same_edges():
    generator = torch.Generator().manual_seed(0)
    scores = 10 ** (torch.rand(20_000, generator=generator) * 6 - 4.2)
    found = histogram(scores)
    edges = np.array(found['edges'])
    inside = scores[(scores >= edges[0]) & (scores < edges[-1])]
    counts, _ = np.histogram(inside.numpy(), edges)
    assert len(inside) > 15_000
    assert found['counts'][1:-1] == counts[1:-1].tolist()


def test_an_edge_begins_its_bin():
    edges = histogram(torch.ones(1))['edges']
    for index, edge in enumerate(edges[:-1]):
        at = torch.tensor([edge])
        assert histogram(at)['counts'][index] == 1
        if index:
            below = torch.nextafter(at, torch.zeros(1))
            assert histogram(below)['counts'][index - 1] == 1


def test_the_bins_are_equally_wide_on_a_log_scale():
    edges = np.array(histogram(torch.ones(1))['edges'])
    assert len(edges) == 41 and edges[0] == 2**-14 and edges[-1] == 64
    np.testing.assert_allclose(np.diff(np.log2(edges)), 0.5, atol=5e-4)


@pytest.mark.parametrize(
    'score, place',
    [(0.0, 0), (-0.0, 0), (1e-40, 0), (1e-30, 0), (-2.5, 0), (-1e38, 0), (64.0, -1), (3e38, -1)],
)
def test_a_score_outside_counts_in_the_bin_at_that_end(score, place):
    counts = histogram(torch.tensor([score, NAN]))['counts']
    assert counts[place] == sum(counts) == 1


def test_a_nan_of_either_sign_is_unseen():
    bits = torch.tensor([0x7FC00000, 0x7F800001, -0x400000, 0x3F800000], dtype=torch.int32)
    scores = bits.view(torch.float32)
    assert scores.isnan().tolist() == [True, True, True, False]
    assert histogram(scores)['unseen'] == 3


def test_a_view_with_a_stride_is_counted_as_its_values():
    scores = torch.tensor([1.0, 50.0, 1.0, 50.0])[::2]
    assert histogram(scores) == histogram(scores.clone())


# -------------------------------------------------------------------------- the report


def run(work_dir, max_iters=30, **kwargs):
    runner = small_runner(work_dir, dict(type='InfoBatchIterLoop', max_iters=max_iters), **kwargs)
    runner.train()
    return runner


def test_the_report_has_a_histogram_of_each_pass(tmp_path):
    runner = run(tmp_path)
    first, *later = report_of(tmp_path)['passes']
    assert first['histogram'] is None and len(later) == 4
    for record in later:
        assert set(record['histogram']) == {'edges', 'counts', 'unseen'}
        assert sum(record['histogram']['counts']) == 24 and record['histogram']['unseen'] == 0
    assert len({tuple(record['histogram']['edges']) for record in later}) == 1
    assert len({tuple(record['histogram']['counts']) for record in later}) > 1
    assert runner.train_loop.sampler.scores.values.isfinite().all()


def test_the_report_of_300_passes_stays_small(tmp_path):
    runner = run(tmp_path, 6)
    (hook,) = (hook for hook in runner.hooks if hasattr(hook, 'before_train_pass'))
    generator = torch.Generator().manual_seed(0)
    hook._report.passes = [
        dict(
            hook._report.passes[0],
            seconds=0.123456789012345678,
            histogram=histogram(torch.empty(1_281_167 // 100).exponential_(generator=generator)),
        )
        for _ in range(300)
    ]
    hook._report.write(str(tmp_path / 'report.json'))
    content = (tmp_path / 'report.json').read_text()
    assert json.loads(content)['passes'] == hook._report.passes
    assert len(content.splitlines()) < 300 + 50  # a line a pass
    assert len(content) < 0.5e6


# ---------------------------------------------------------------------- the visualizer

HISTOGRAM = dict(edges=[0.0, 1.0, 2.0, 4.0, 8.0], counts=[0, 2, 3, 0], unseen=1)


def test_empty_bins_at_the_ends_are_left_out():
    assert trimmed([0, 2, 0, 3, 0, 0], [0, 1, 2, 3, 4, 5, 6]) == ([2, 0, 3], [1, 2, 3, 4])
    assert trimmed([1], [0, 1]) == ([1], [0, 1])


class Calls:
    """Stands for what TensorBoard's writer or the module wandb does, and remembers it."""

    def __init__(self):
        self.histograms, self.scalars, self.logged = [], [], []
        self.run = SimpleNamespace(log_code=lambda name: None)
        self.config = SimpleNamespace(update=lambda *args, **kwargs: None)

    def add_histogram_raw(self, tag, **kwargs):
        self.histograms.append((tag, kwargs))

    def add_scalar(self, tag, value, step):
        self.scalars.append((tag, value, step))

    def add_text(self, *args):
        pass

    add_image = close = join = init = add_text

    def Histogram(self, np_histogram):  # noqa: N802
        return np_histogram

    def log(self, content, commit):
        self.logged.append(content)


@VISBACKENDS.register_module()
class FakeTensorboard(TensorboardVisBackend):
    """TensorBoard's backend, with a writer that remembers: TensorBoard need not be installed."""

    def _init_env(self):
        self._tensorboard = Calls()


@pytest.fixture
def wandb(monkeypatch):
    """A module wandb that remembers, as WandB cannot be used without a network."""
    module = Calls()
    module.init = lambda **kwargs: None
    monkeypatch.setitem(sys.modules, 'wandb', module)
    return module


def visualizer(work_dir, *backends):
    return Visualizer(vis_backends=[dict(type=each) for each in backends], save_dir=str(work_dir))


def test_tensorboard_gets_the_bins(tmp_path):
    drawing = visualizer(tmp_path, 'FakeTensorboard')
    add_histogram(drawing, 'scores', HISTOGRAM, 7)
    (backend,) = drawing._vis_backends.values()
    assert backend.experiment.histograms == [
        (
            'scores',
            dict(
                min=1.0,
                max=4.0,
                num=5,
                sum=2 * 1.5 + 3 * 3,
                sum_squares=2 * 1.5**2 + 3 * 9,
                bucket_limits=[2.0, 4.0],
                bucket_counts=[2, 3],
                global_step=7,
            ),
        )
    ]


def test_wandb_gets_the_bins(tmp_path, wandb):
    add_histogram(visualizer(tmp_path, 'WandbVisBackend'), 'scores', HISTOGRAM, 7)
    assert wandb.logged == [dict(scores=([2, 3], [1.0, 2.0, 4.0]))]


def test_another_backend_gets_nothing(tmp_path):
    add_histogram(visualizer(tmp_path, 'LocalVisBackend'), 'scores', HISTOGRAM, 7)
    assert not list(tmp_path.rglob('*.*'))


def logged_run(work_dir, *backends):
    """A run of several passes that logs each iteration."""
    return run(
        work_dir,
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1)),
        log_processor=dict(by_epoch=False),
        visualizer=dict(type='Visualizer', vis_backends=[dict(type=each) for each in backends]),
    )


def test_a_run_gives_tensorboard_histograms_and_the_comparable_loss(tmp_path):
    runner = logged_run(tmp_path, 'LocalVisBackend', 'FakeTensorboard')
    (fake,) = (
        each for each in runner.visualizer._vis_backends.values() if type(each) is FakeTensorboard
    )
    passes = report_of(tmp_path)['passes']
    assert [kwargs['global_step'] for _, kwargs in fake.experiment.histograms] == [
        record['begin_iter'] for record in passes[1:]
    ]
    for (name, kwargs), record in zip(fake.experiment.histograms, passes[1:]):
        assert name == 'infobatch/scores' and kwargs['num'] == 24
        assert (
            kwargs['bucket_counts']
            == trimmed(*map(record['histogram'].get, ('counts', 'edges')))[0]
        )
    steps = [step for name, _, step in fake.experiment.scalars if name == 'loss_all_data']
    assert steps == list(range(1, runner.iter + 1))
    for key in ('kept', 'pruned', 'pruned_share', 'seconds', 'threshold', 'mean_score'):
        shown = [each[1:] for each in fake.experiment.scalars if each[0] == f'infobatch/{key}']
        assert shown == [
            (pytest.approx(record[key]), record['begin_iter'])
            for record in passes
            if record[key] is not None
        ]
    assert sum(name == 'infobatch/saving' for name, *_ in fake.experiment.scalars) == len(passes)


def test_a_run_gives_wandb_histograms_and_the_comparable_loss(tmp_path, wandb):
    runner = logged_run(tmp_path, 'WandbVisBackend')
    names = [name for content in wandb.logged for name in content]
    assert names.count('infobatch/scores') == len(report_of(tmp_path)['passes']) - 1 == 4
    assert names.count('loss_all_data') == runner.iter
    assert any(
        isinstance(each, WandbVisBackend) for each in runner.visualizer._vis_backends.values()
    )


def test_tensorboard_itself_reads_the_histograms_back(tmp_path):
    """With the extra ``test`` TensorBoard is installed; the tests above do without it."""
    accumulator = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    runner = logged_run(tmp_path, 'TensorboardVisBackend')
    runner.visualizer.close()
    (events,) = tmp_path.rglob('events.out.tfevents.*')
    read = accumulator.EventAccumulator(str(events), size_guidance=dict(histograms=0, scalars=0))
    read.Reload()
    passes = report_of(tmp_path)['passes']
    found = read.Histograms('infobatch/scores')
    assert [each.step for each in found] == [record['begin_iter'] for record in passes[1:]]
    for each, record in zip(found, passes[1:]):
        counts, edges = trimmed(record['histogram']['counts'], record['histogram']['edges'])
        value = each.histogram_value
        assert list(value.bucket) == counts and list(value.bucket_limit) == edges[1:]
        assert (value.min, value.max, value.num) == (edges[0], edges[-1], 24)
    assert len(read.Scalars('loss_all_data')) == runner.iter
