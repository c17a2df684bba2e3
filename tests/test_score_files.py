"""Files of scores: what is written is read, and FromFile keeps what it says."""

import numpy as np
import pytest
import torch
from policies import seeded, skewed

from mm_infobatch.policies import FromFile
from mm_infobatch.policies.budgets import count_in_share, divide_among_classes
from mm_infobatch.policies.score_file import ScoreFile, read_score_file, write_score_file

LABELS = np.array([0, 1, 2, 0, 1, 0, 1, 0, 0, 1])  # 5, 4 and 1
SCORES = np.arange(10, dtype=np.float32)


def written(path, **content):
    content = {'scores': SCORES, **content}
    write_score_file(path, ScoreFile(**content))
    return str(path)


def plan_of(*arguments, **kwargs):
    policy = FromFile(*arguments, **kwargs)
    return policy.plan(skewed(len(policy.scores)), seeded())


def test_a_share_of_whole_samples_is_that_many_and_not_one_more():
    for total in (50_000, 60_000, 1_281_167):
        counts = range(1, total + 1, 1 if total == 50_000 else 977)
        assert all(count_in_share(total, count / total) == count for count in counts)
    assert count_in_share(50_000, 51 / 50_000) == 51 < -(-50_000 * (51 / 50_000) // 1)  # it was 52
    assert [count_in_share(11, share) for share in (0.25, 1e-12, 1, 2 / 11)] == [3, 1, 11, 2]


def test_a_number_is_divided_among_classes_by_largest_remainders():
    assert divide_among_classes(np.array([5, 3, 2]), 5).tolist() == [3, 1, 1]
    assert divide_among_classes(np.array([5, 4, 1]), 7).tolist() == [3, 3, 1]
    generator = np.random.default_rng(0)
    for _ in range(200):
        sizes = generator.integers(1, 50, 7)
        count = int(generator.integers(0, sizes.sum() + 1))
        found = divide_among_classes(sizes, count)
        assert found.sum() == count and (found <= sizes).all()
        assert (abs(found - sizes * count / sizes.sum()) < 1).all()


@pytest.mark.parametrize('suffix', ['.npy', '.npz'])
def test_what_is_written_is_read(tmp_path, suffix):
    weights = np.linspace(1, 2, 10).astype(np.float32)
    content = ScoreFile(SCORES, LABELS, weights, True, 4)
    write_score_file(tmp_path / f'a{suffix}', content)
    found = read_score_file(str(tmp_path / f'a{suffix}'))
    if suffix == '.npy':
        content = ScoreFile(SCORES)
    for key, value in vars(content).items():
        assert np.array_equal(getattr(found, key), value), key


def test_a_number_of_samples_is_kept_instead_of_a_share(tmp_path):
    path = written(tmp_path / 'a.npy')
    assert plan_of(path, count=3).indices.tolist() == [7, 8, 9]
    assert plan_of(path, count=10).kept == 10
    assert plan_of(path, keep=0.2).kept == 2
    assert plan_of(path).kept == 7
    assert plan_of(path, count=2, reverse=True).indices.tolist() == [0, 1]


def test_the_highest_of_each_class_are_kept_where_the_file_or_the_config_says_so(tmp_path):
    path = written(tmp_path / 'a.npz', labels=LABELS)
    assert plan_of(path, count=5).indices.tolist() == [5, 6, 7, 8, 9]
    # 5 of 10: 2.5, 2 and 0.5 of the classes, and the lower one of equal remainders gets more.
    apart = plan_of(path, count=5, per_class=True)
    assert apart.indices.tolist() == [5, 6, 7, 8, 9]
    assert plan_of(path, count=7, per_class=True).indices.tolist() == [2, 4, 5, 6, 7, 8, 9]
    assert plan_of(path, count=8, per_class=True, reverse=True).indices.tolist() == [
        0, 1, 2, 3, 4, 5, 6, 7,
    ]  # fmt: skip
    says = written(tmp_path / 'b.npz', labels=LABELS, per_class=True)
    assert plan_of(says, count=7).indices.tolist() == [2, 4, 5, 6, 7, 8, 9]
    assert plan_of(says, count=7, per_class=False).indices.tolist() == [3, 4, 5, 6, 7, 8, 9]


def test_ties_within_a_class_are_broken_by_the_seed(tmp_path):
    labels = np.repeat([0, 1], 50)
    path = written(tmp_path / 'a.npz', scores=np.zeros(100, np.float32), labels=labels)
    plans = [plan_of(path, count=20, per_class=True, seed=seed).indices for seed in (0, 0, 1)]
    assert torch.equal(plans[0], plans[1]) and not torch.equal(plans[0], plans[2])
    assert all(int((plan < 50).sum()) == 10 for plan in plans)


def test_a_run_that_resumes_with_another_choice_of_a_file_says_so(tmp_path):
    """By the policy's text, which the checkpoint has: whatever changes the subset is in it."""
    path = written(tmp_path / 'a.npz', scores=np.zeros(10, np.float32), labels=LABELS)
    choices = [dict(), dict(seed=1), dict(count=3), dict(reverse=True), dict(per_class=True)]
    texts = [repr(FromFile(path, **arguments)) for arguments in choices]
    for number in (1, 2):  # the file itself is written anew
        scores = np.roll(np.arange(10, dtype=np.float32), number)
        texts.append(repr(FromFile(written(tmp_path / 'a.npz', scores=scores, labels=LABELS))))
    assert len(set(texts)) == len(choices) + 2


def test_a_file_for_a_number_of_samples_keeps_that_number(tmp_path):
    path = written(tmp_path / 'a.npz', count=4)
    assert plan_of(path).kept == plan_of(path, keep=0.4).kept == plan_of(path, count=4).kept == 4
    for arguments in (dict(keep=0.5), dict(count=3)):
        with pytest.raises(ValueError, match='made to keep 4 of 10 samples, and cannot keep [53]'):
            FromFile(path, **arguments)


def test_a_file_for_a_number_of_samples_keeps_no_others_in_their_place(tmp_path):
    """It has 0 for each sample that it does not keep, of which some were kept at random."""
    scores = np.array([0, 0, 0, 0, 0, 0, 1, 2, 3, 4], np.float32)
    for name, per_class in (('over_all', False), ('per_class', True)):
        content = dict(scores=scores, labels=LABELS, per_class=per_class, count=4)
        path = written(tmp_path / f'{name}.npz', **content)
        with pytest.raises(ValueError, match='reverse=True does not fit .* leave out policy.rev'):
            FromFile(path, reverse=True)
    assert FromFile(path, per_class=True).count == 4
    with pytest.raises(ValueError, match='per_class=True does not fit .* leave out policy.per_cl'):
        FromFile(str(tmp_path / 'over_all.npz'), per_class=True)


def test_weights_of_a_file_sum_to_the_samples_or_have_a_mean_of_1(tmp_path):
    weights = np.array([0, 0, 0, 0, 0, 0, 0, 6, 1, 3], np.float32)
    path = written(tmp_path / 'a.npz', weights=weights, count=3)
    assert plan_of(path).weights.tolist() == pytest.approx([1.8, 0.3, 0.9])
    assert plan_of(path, rescale=True).weights.tolist() == pytest.approx([6, 1, 3])
    assert plan_of(path, rescale=False).weights.tolist() == [1, 1, 1]
    halved = written(tmp_path / 'b.npz', weights=weights / 2, count=3)
    assert plan_of(halved, rescale=True).weights.tolist() == pytest.approx([6, 1, 3])


def test_weights_in_a_batch_are_those_of_craig_but_for_the_sum_in_the_batch(tmp_path):
    """CRAIG's loss is sum(w l) / sum(w), here it is sum(w l) / B: the same over a whole pass."""
    weights = np.array([5, 1, 1, 2, 1], np.float32)
    losses = torch.tensor([0.3, 2.0, 1.0, 0.5, 4.0])
    path = written(tmp_path / 'a.npz', scores=np.ones(5, np.float32), weights=weights, count=5)
    plan = plan_of(path)
    expected = float((torch.tensor(weights) * losses).sum() / weights.sum())
    assert float((plan.weights * losses).sum() / 5) == pytest.approx(expected)


@pytest.mark.parametrize(
    'arguments, error, words',
    [
        (dict(count=0), ValueError, 'count=0 has to be an integer of at least 1'),
        (dict(count=2.5), TypeError, 'count has to be an integer, but is 2.5'),
        (dict(count=11), ValueError, 'count=11 is more than the 10 scores'),
        (dict(count=3, keep=0.3), ValueError, 'keep=0.3 and count=3 contradict'),
        (dict(per_class=1), TypeError, 'per_class has to be True or False'),
        (dict(per_class=True), ValueError, 'per_class=True needs classes'),
        (dict(rescale='no'), ValueError, "rescale='no'"),
        (dict(keep=1.5), ValueError, 'keep=1.5'),
    ],
)
def test_an_argument_that_does_not_fit_the_file_is_refused(tmp_path, arguments, error, words):
    with pytest.raises(error, match=words):
        FromFile(written(tmp_path / 'a.npy'), **arguments)


@pytest.mark.parametrize(
    'content, words',
    [
        (dict(other=SCORES), 'needs scores'),
        (dict(scores=SCORES, more=SCORES), 'contains the arrays scores, more'),
        (dict(scores=SCORES[:, None]), r'shape \(10, 1\)'),
        (dict(scores=SCORES[:0]), r'shape \(0,\)'),
        (dict(scores=SCORES, labels=LABELS[:9]), '10 scores and 9 labels'),
        (dict(scores=SCORES, labels=SCORES), 'as labels'),
        (dict(scores=SCORES, weights=-SCORES), 'a weight that is negative'),
        (dict(scores=SCORES, weights=np.full(10, 1e300)), 'NaN or infinite in float32'),
        (dict(scores=SCORES, count=11), 'for 11 of 10 samples'),
        (dict(scores=SCORES, count=1.5), 'has 1.5 as count'),
        (dict(scores=SCORES, count='many'), "has 'many' as count"),
        (dict(scores=SCORES, per_class=[True, False]), r'has \[True, False\] as per_class'),
        (dict(scores=np.array([None, 1])), 'not a .npy or .npz file'),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(tmp_path, content, words):
    np.savez(tmp_path / 'a.npz', **content)
    with pytest.raises(ValueError, match=words):
        FromFile(str(tmp_path / 'a.npz'))


def test_a_file_that_is_cut_off_is_refused(tmp_path):
    path = tmp_path / 'a.npz'
    written(path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match='not a .npy or .npz file'):
        FromFile(str(path))


@pytest.mark.parametrize('suffix', ['npy', 'npz'])
def test_a_write_that_is_interrupted_leaves_the_file_as_it_was(tmp_path, monkeypatch, suffix):
    path = tmp_path / f'a.{suffix}'
    written(path)

    def interrupted(file, *arrays, **more):
        file.write(b'PK')
        raise KeyboardInterrupt

    monkeypatch.setattr(np, 'save' if suffix == 'npy' else 'savez', interrupted)
    with pytest.raises(KeyboardInterrupt):
        written(path, scores=-SCORES)
    assert read_score_file(str(path)).scores.tolist() == SCORES.tolist()
    with pytest.raises(KeyboardInterrupt):
        written(tmp_path / f'b.{suffix}')
    assert not (tmp_path / f'b.{suffix}').exists()


def test_a_kept_sample_without_a_weight_is_refused(tmp_path):
    weights = np.ones(10, np.float32)
    weights[8] = 0
    policy = FromFile(written(tmp_path / 'a.npz', weights=weights), count=3)
    with pytest.raises(ValueError, match='has the weight 0 for sample 8, .* would not be trained'):
        policy.plan(skewed(10), seeded())


def test_weights_of_any_size_are_taken_and_those_too_far_apart_are_refused(tmp_path):
    weights = np.ones(10)
    for factor in (1e-44, 1e38):
        path = written(tmp_path / 'a.npz', weights=factor * weights)
        assert plan_of(path, count=3).weights.tolist() == [1, 1, 1]
    weights[8] = 1e-44
    weights[9] = 1e38
    path = written(tmp_path / 'b.npz', weights=weights)
    with pytest.raises(ValueError, match='has the weight 9.81e-45 for sample 8'):
        plan_of(path, count=3)
