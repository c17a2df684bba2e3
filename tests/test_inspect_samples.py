"""What the page of ``inspect`` computes of samples: tables, lists, bins, files. No real images."""

import json

import numpy as np
import pytest
import torch

from mm_infobatch.page import binning, lists, run_facts, sample_files, scan
from mm_infobatch.page.sample_table import Occurrences, SampleTable, class_table, read_samples
from mm_infobatch.passes.tracking import SampleTracker

NAN = float('nan')


def array(*values):
    return np.array(values, np.float32)


def tracked():
    """Six samples over four passes; sample 5 is unseen."""
    return SampleTable(
        scores=array(1, 5, 3, 0.5, 4, NAN),
        mean=array(2, 4, 3, 1, 5, NAN),
        spread=array(0.1, 2, 0.5, 0, 1, NAN),
        trained=np.array([2, 4, 4, 1, 4, 0], np.int16),
        skipped=np.array([2, 0, 0, 3, 0, 4], np.int32),
        passes=4,
    )


def pairs(*classes):
    """Sample i is of class ``classes[i]``."""
    return Occurrences(np.arange(len(classes)), np.array(classes), len(classes))


# ----------------------------------------------------------------------- the table


def test_the_table_is_what_the_tracker_says():
    tracker = SampleTracker(3)
    losses = torch.tensor([[1.0, 2.0, 0.0], [3.0, 2.0, 0.0]])
    for number, indices in enumerate(([0, 1], [0])):
        tracker.update(torch.tensor(indices), losses[number, indices])
        tracker.end_pass()
    state = dict(scores=torch.tensor([3.0, 2.0, NAN]), tracked=tracker.state_dict())
    table = read_samples(state)
    np.testing.assert_array_equal(table.scores, array(3, 2, NAN))
    np.testing.assert_array_equal(table.mean, array(2, 2, NAN))
    np.testing.assert_array_equal(table.spread, array(1, 0, NAN))
    assert table.skipped.tolist() == [0, 1, 2] and table.trained.tolist() == [2, 1, 0]
    assert table.skipped_share().tolist() == [0, 0.5, 1] and table.passes == 2
    assert list(table.columns()) == [
        'score', 'mean_score', 'score_spread', 'times_trained', 'times_skipped',
    ]  # fmt: skip


@pytest.mark.parametrize('more', [{}, {'tracked': None}])
def test_without_a_tracker_the_table_has_the_scores_alone(more):
    table = read_samples(dict(scores=torch.tensor([1.0, NAN]), **more))
    assert list(table.columns()) == ['score'] and table.skipped_share() is None


def test_a_row_of_the_table_of_classes_has_the_means_of_its_samples():
    rows = class_table(tracked(), pairs(0, 0, 2, 2, 0, 2))
    assert [(row.index, row.images) for row in rows] == [(0, 3), (2, 3)]
    assert rows[0].mean == pytest.approx((2 + 4 + 5) / 3)
    assert rows[1].mean == pytest.approx((3 + 1) / 2)  # without the unseen one
    assert rows[0].spread == pytest.approx(3.1 / 3)
    assert rows[0].skipped == pytest.approx(2 / 12) and rows[1].skipped == pytest.approx(7 / 12)
    assert rows[0].pixels is None


def test_without_a_tracker_the_mean_score_of_a_class_is_that_of_the_latest_losses():
    rows = class_table(SampleTable(array(1, 3, NAN)), pairs(0, 0, 1))
    assert [row.mean for row in rows] == [2, None]
    assert [row.skipped for row in rows] == [None, None]


def test_the_pixels_of_a_class_are_a_share_of_all_that_have_one():
    found = Occurrences(np.array([0, 0, 1]), np.array([0, 1, 1]), 2, np.array([10, 20, 10]))
    assert [row.pixels for row in class_table(tracked(), found)] == [0.25, 0.75]


def test_a_dataset_in_which_no_class_occurs_has_no_row():
    none = np.zeros(0, np.int64)
    assert class_table(tracked(), Occurrences(none, none, 2)) == []


# ----------------------------------------------------------------------- the lists


def test_each_list_has_its_own_order_and_no_unseen_sample():
    found = {each.title: each.top.tolist() for each in lists.choose_lists(tracked(), None, 9)}
    assert found['Hardest by latest loss'] == [1, 4, 2, 0, 3]
    assert found['Hardest by mean loss'] == [4, 1, 2, 0, 3]
    assert found['Most ambiguous'] == [1, 4, 2, 0, 3]
    assert found['Most often skipped'] == [3, 0]
    assert sorted(found['Never skipped']) == [1, 2, 4]


def test_among_samples_skipped_as_often_the_lowest_mean_comes_first():
    table = tracked()
    table.skipped[:] = [2, 2, 2, 2, 0, 4]
    found = {each.title: each.top.tolist() for each in lists.choose_lists(table, None, 9)}
    assert found['Most often skipped'] == [3, 0, 2, 1]


def test_the_random_list_is_the_same_for_the_same_seed():
    table = SampleTable(*[np.arange(200, dtype=np.float32)] * 3, np.full(200, 3))
    table.skipped, table.passes = (np.arange(200) == 0).astype(int), 3
    draws = [lists.choose_lists(table, None, 10, seed)[-1].top.tolist() for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2] and 0 not in draws[0]


@pytest.mark.parametrize('drop', ['mean', 'skipped'])
def test_a_list_is_left_out_where_its_column_is_missing(drop):
    table = tracked()
    setattr(table, drop, None)
    titles = [each.title for each in lists.choose_lists(table, None, 3)]
    assert 'Hardest by latest loss' in titles and 'Most often skipped' not in titles
    assert ('Most ambiguous' in titles) == (drop == 'skipped')


def test_equal_values_are_ordered_by_index():
    values = np.array([1, np.inf, 2, NAN, 2, 1], np.float32)
    assert lists.descending(values).tolist() == [2, 4, 0, 5]


def test_a_list_also_has_the_first_samples_of_each_class():
    order = np.array([5, 3, 1, 0, 2])
    found = pairs(0, 1, 0, 1, 0, 0)
    assert lists.first_of_each_class(order, 6, found, 1).tolist() == [3, 5]
    assert lists.first_of_each_class(order, 6, found, 2).tolist() == [0, 1, 3, 5]
    assert lists.first_of_each_class(order, 6, found, 9).tolist() == [0, 1, 2, 3, 5]
    assert lists.first_of_each_class(order, 6, None, 1).tolist() == []


def test_the_filter_by_class_adds_no_sample_twice():
    each = lists.choose_lists(tracked(), pairs(0, 0, 0, 1, 1, 1), 2)[0]
    assert each.top.tolist() == [1, 4] and each.by_class.tolist() == [0, 2, 3]


def test_with_many_classes_a_list_stays_short():
    table = SampleTable(np.arange(500, dtype=np.float32))
    each = lists.choose_lists(table, pairs(*range(500)), 10)[0]
    assert len(each.top) == 10 and len(each.by_class) == 0


# ------------------------------------------------------------------------ the scan


class Infos:
    """A dataset of annotations."""

    def __init__(self, infos):
        self.infos = infos

    def __len__(self):
        return len(self.infos)

    def get_data_info(self, index):
        return self.infos[index]


def test_annotations_are_read_in_parts():
    infos = [dict(img_path=f'{i}.jpg', gt_label=i % 2) for i in range(5)]
    parts = list(scan.read_annotations(Infos(infos), 5, chunk=2))
    assert [part.begin for part in parts] == [0, 2, 4]
    assert [path for part in parts for path in part.paths] == [f'{i}.jpg' for i in range(5)]
    found = scan.joined([scan.occurrences_of_labels(part.labels, part.begin) for part in parts])
    assert found.samples.tolist() == [0, 1, 2, 3, 4] and found.classes.tolist() == [0, 1, 0, 1, 0]


def test_an_annotation_that_cannot_be_read_is_counted():
    (part,) = scan.read_annotations(Infos([dict(img_path='a'), None]), 2)
    assert part.failed == 1 and part.paths == ['a', ''] and part.labels == [[], []]


def test_several_labels_of_an_image_are_several_pairs():
    found = scan.occurrences_of_labels([[1, 2], [], [0], [-1]], begin=10)
    assert found.samples.tolist() == [10, 10, 12] and found.classes.tolist() == [1, 2, 0]
    assert scan.joined([scan.occurrences_of_labels([[], []])]) is None


# ----------------------------------------------------------------------- the files


def written(tmp_path, *parts):
    with sample_files.SampleFiles(tmp_path / 'run.1') as files:
        for part in parts:
            files.write(part)
    assert [path.name for path in files.paths] == ['run.1.csv', 'run.1.parquet']
    from pyarrow import csv, parquet

    return csv.read_csv(files.paths[0]), parquet.read_table(files.paths[1])


def test_both_files_hold_every_row_and_a_nan_is_an_empty_cell(tmp_path):
    pytest.importorskip('pyarrow', reason='the extra inspect is not installed')
    read = scan.Annotations(0, ['a"b.jpg', 'c,d.jpg'], ['', ''], [[0], [1, 0]])
    rest = scan.Annotations(2, ['é.jpg'] * 4, [''] * 4, [[7]] * 4)
    rows = [sample_files.rows_of(tracked(), part, ['<b>', 'x']) for part in (read, rest)]
    for table in written(tmp_path, *rows):
        content = table.to_pydict()
        assert content['index'] == [0, 1, 2, 3, 4, 5]
        assert content['filepath'] == ['a"b.jpg', 'c,d.jpg', *['é.jpg'] * 4]
        assert content['label'] == ['<b>', 'x;<b>', '7', '7', '7', '7']
        assert content['score'] == [1, 5, 3, 0.5, 4, None]
        assert content['times_skipped'] == [2, 0, 0, 3, 0, 4]


def test_without_annotations_the_files_hold_the_scores(tmp_path):
    pytest.importorskip('pyarrow', reason='the extra inspect is not installed')
    read = scan.Annotations(0, [''] * 6, [''] * 6, [[]] * 6)
    table, _ = written(tmp_path, sample_files.rows_of(tracked(), read, [], paths=False))
    assert 'filepath' not in table.column_names and table.num_rows == 6


# ------------------------------------------------------------------------- the bins


def test_counts_in_other_bins_are_split_by_their_width():
    edges = np.array([0.0, 1, 2])
    assert binning.rebin(np.array([4, 2]), edges, np.array([0, 0.5, 2])).tolist() == [2, 4]
    assert binning.rebin(np.array([4, 2]), edges, np.array([1.0, 3])).tolist() == [2]


def record(number, edges, counts, unseen=0):
    return {'pass': number, 'histogram': dict(edges=edges, counts=counts, unseen=unseen)}


def test_a_pass_is_a_row_of_shares_without_empty_bins_at_the_ends():
    passes = [
        {'pass': 0, 'histogram': None},
        record(1, [1, 2, 4, 8, 16], [0, 2, 0, 0], unseen=2),
        record(2, [1, 2, 4, 8, 16], [0, 1, 3, 0]),
        {'pass': 3},
    ]
    numbers, edges, shares = binning.scores_by_pass(passes)
    assert numbers.tolist() == [1, 2] and edges.tolist() == [2, 4, 8]
    assert shares.tolist() == [[0.5, 0], [0.25, 0.75]]
    assert binning.scores_by_pass(passes[:1]) is None and binning.scores_by_pass([]) is None


def test_a_pass_with_other_edges_is_brought_to_those_of_the_first():
    passes = [record(1, [0, 1, 2], [1, 1]), record(2, [0, 2], [4])]
    assert binning.scores_by_pass(passes)[2].tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_the_map_counts_every_sample_that_was_trained_twice():
    generator = np.random.default_rng(0)
    mean, spread = generator.exponential(size=(2, 1000)).astype(np.float32)
    trained = np.arange(1000) % 3
    spreads, means, counts = binning.spread_map(mean, spread, trained, bins=10)
    assert counts.shape == (10, 10) and counts.sum() == (trained > 1).sum()
    chosen = (trained > 1) & (mean < means[3]) & (spread < spreads[2])
    assert counts[:3, :2].sum() == chosen.sum()
    assert means[-1] < mean[trained > 1].max(), 'the last 0.2 % would stretch the axis'


def test_a_map_of_equal_values_has_one_cell():
    counts = binning.spread_map(array(1, 1), array(0, 0), np.array([2, 2]), bins=4)[2]
    assert counts[0, 0] == counts.sum() == 2
    assert binning.spread_map(array(1), array(0), np.array([1])) is None


# ------------------------------------------------------------------------- settings


def test_a_config_is_flat_by_its_dotted_names():
    config = dict(a=dict(b=1, c=[1, 2]), hooks=[dict(type='X'), dict(type='Y')], none={})
    assert run_facts.flat(config) == {
        'a.b': '1',
        'a.c': '[1, 2]',
        'hooks.0.type': "'X'",
        'hooks.1.type': "'Y'",
        'none': '{}',
    }


def test_settings_side_by_side_tell_whether_they_differ():
    rows = run_facts.side_by_side(
        [{'lr': '1', 'seed': '0'}, {'lr': '2', 'delta': '0.9', 'seed': '0'}]
    )
    assert rows == [
        ('lr', ['1', '2'], True),
        ('seed', ['0', '0'], False),
        ('delta', ['-', '0.9'], True),
    ]


def test_the_filter_by_class_names_a_label_that_is_no_class_by_its_number():
    from mm_infobatch.page.gallery import Card, Gallery
    from mm_infobatch.page.write import SampleSection, gallery_classes

    cards = [Card(0, classes=[1]), Card(1, classes=[-1]), Card(2, classes=[5])]
    section = SampleSection('run', names=['a', 'b'], galleries=[Gallery('t', 'a', cards, [])])
    assert gallery_classes(section) == [(-1, '-1'), (1, 'b'), (5, '5')]


def test_a_long_curve_is_thinned_and_keeps_its_ends():
    steps = np.arange(10_000.0)
    curve = run_facts.Curve('loss', {'iterations': steps}, -steps).thinned(100)
    assert len(curve.values) == 100 and curve.values[[0, -1]].tolist() == [0, -9999]
    assert (curve.positions['iterations'] == -curve.values).all()
    assert len(run_facts.Curve('loss', {}, steps).thinned(10_000).values) == 10_000


def test_json_in_a_script_cannot_end_it():
    from mm_infobatch.page.write import json_in_html

    text = json.dumps({'</script><img src=x onerror="alert(1)">': '<!--&\u2028'})
    assert not set('<>&\u2028') & set(json_in_html(text))
    assert json.loads(json_in_html(text)) == json.loads(text)
