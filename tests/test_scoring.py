"""Static scores: each method beside a slow, plain version, and where the answer is known."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional

from mm_infobatch.scoring import gradients
from mm_infobatch.scoring.contextual_diversity import contextual_diversity
from mm_infobatch.scoring.craig import craig, facility_location, similarities
from mm_infobatch.scoring.dataset_pruning import dataset_pruning
from mm_infobatch.scoring.deepfool import boundary_in_features, deepfool
from mm_infobatch.scoring.el2n import el2n
from mm_infobatch.scoring.forgetting import forgetting, learned_by_loss
from mm_infobatch.scoring.glister import glister
from mm_infobatch.scoring.grand import grand
from mm_infobatch.scoring.graph_cut import graph_cut
from mm_infobatch.scoring.greedy import lazy_greedy, order_scores
from mm_infobatch.scoring.herding import herding
from mm_infobatch.scoring.hessian import influences
from mm_infobatch.scoring.influence import influence
from mm_infobatch.scoring.k_center import k_center
from mm_infobatch.scoring.rows import by_rows, errors
from mm_infobatch.scoring.uncertainty import entropy, least_confidence, margin

N, C, D = 42, 3, 5


@pytest.fixture(scope='module')
def data():
    """Logits, features and labels of a linear classifier that is often right."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, C, N)
    weight, bias = rng.normal(size=(C, D)), rng.normal(size=C)
    features = (weight[labels] + rng.normal(size=(N, D))).astype(np.float32)
    logits = (features @ weight.T + bias).astype(np.float32)
    return logits, features, labels


def rng():
    return np.random.default_rng(0)


def softmax(logits):
    values = np.exp(logits.astype(np.float64))
    return values / values.sum(1, keepdims=True)


def full_gradients(logits, features, labels):
    """The gradients of the last layer, by autograd, float64 [N, C, D + 1]."""
    found = []
    for z, h, y in zip(logits, features, labels):
        x = torch.cat([torch.tensor(h).double(), torch.ones(1).double()])
        layer = torch.zeros(C, len(x)).double().requires_grad_()
        loss = functional.cross_entropy((torch.tensor(z) + layer @ x)[None], torch.tensor([y]))
        found.append(torch.autograd.grad(loss, layer)[0].numpy())
    return np.stack(found)


def order_of(scores):
    """The chosen samples in order, of scores without ties."""
    order = np.argsort(-scores, kind='stable')
    return order[scores[order] > 0].tolist()


def logs(*probabilities):
    return np.log(np.array(probabilities)).astype(np.float32)


# ------------------------------------------------------------- scores of single samples


def test_uncertainty_is_what_its_formulas_say(data):
    p = softmax(data[0])
    ranked = np.sort(p, 1)
    assert np.allclose(least_confidence(data[0]), 1 - ranked[:, -1], atol=1e-6)
    assert np.allclose(margin(data[0]), 1 - (ranked[:, -1] - ranked[:, -2]), atol=1e-6)
    assert np.allclose(entropy(data[0]), -(p * np.log(p)).sum(1), atol=1e-6)


def test_uncertainty_of_known_probabilities():
    logits = logs([0.7, 0.2, 0.1], [0.5, 0.5, 1e-9])
    assert least_confidence(logits) == pytest.approx([0.3, 0.5], abs=1e-6)
    assert margin(logits) == pytest.approx([0.5, 1], abs=1e-6)
    assert entropy(logits) == pytest.approx([0.8018186, np.log(2)], abs=1e-6)


def test_certain_samples_keep_their_order():
    logits = np.array([[0, -30, -60], [0, -40, -60], [200, 0, 100]], np.float32)
    for score in (least_confidence, margin, entropy):
        found = score(logits)
        assert found[0] > found[1] > found[2] >= 0
    assert len(set((1 - softmax(logits[:2]).max(1)).tolist())) == 2  # and in float32 not:
    assert len(set((1 - softmax(logits[:2]).max(1).astype(np.float32)).tolist())) == 1


def test_deepcore_ranks_by_the_largest_logit_and_so_differently():
    logits = np.array([[9, 9, 0], [1, -5, -5]], np.float32)
    assert np.argmax(least_confidence(logits)) == 0
    assert np.argmax(least_confidence(logits, by_logit=True)) == 1


def test_el2n_is_the_norm_of_the_error(data):
    logits, _, labels = data
    expected = np.linalg.norm(softmax(logits) - np.eye(C)[labels], axis=1)
    assert np.allclose(el2n(logits, labels), expected, atol=1e-6)
    found = el2n(logs([0.7, 0.2, 0.1], [0.7, 0.2, 0.1]), np.array([0, 2]))
    assert found == pytest.approx([0.14**0.5, 1.34**0.5], abs=1e-6)


def test_errors_of_samples_that_the_classifier_is_sure_of_keep_their_digits():
    gaps = np.array([20, 30, 36, 40, 60], np.float64)
    logits = np.stack([gaps, 0 * gaps, 0 * gaps - 200], 1).astype(np.float32)
    labels = np.zeros(5, np.int64)
    expected = 2**0.5 * np.exp(-gaps) / (1 + np.exp(-gaps))
    assert np.allclose(el2n(logits, labels), expected, rtol=1e-5, atol=0)


def test_the_cosines_of_graph_cut_do_not_depend_on_how_sure_the_classifier_is(data):
    logits, features, labels = data
    one_hot = np.eye(C, dtype=np.float32)[labels]
    sure, surer = (graph_cut(logits + gap * one_hot, features, labels) for gap in (20, 50))
    assert np.array_equal(sure, surer)


def test_grand_is_the_norm_of_the_gradient_of_the_last_layer(data):
    expected = np.linalg.norm(full_gradients(*data).reshape(N, -1), axis=1)
    assert np.allclose(grand(*data), expected, rtol=1e-5)
    found = grand(logs([0.5, 0.5]), np.array([[2.0, 2.0]], np.float32), np.array([0]))
    assert found == pytest.approx([0.5**0.5 * 3])  # norm(-.5, .5) * norm(2, 2, 1)


def test_gradients_are_never_built_and_yet_those_of_autograd(data):
    logits, features, labels = data
    full = full_gradients(*data)
    mistakes = errors(logits, labels)
    flat = full.reshape(N, -1)
    assert np.allclose(gradients.norms(mistakes, features), np.linalg.norm(flat, axis=1), rtol=1e-5)
    assert np.allclose(gradients.inner_products(mistakes, features), flat @ flat.T, atol=1e-4)
    assert np.allclose(gradients.mean(mistakes, features), full.mean(0), atol=1e-5)
    along = gradients.products_with(full[3].astype(np.float32), mistakes, features)
    assert np.allclose(along, flat @ flat[3], atol=1e-4)


def test_blocks_of_rows_are_joined_in_order(monkeypatch, data):
    whole = errors(data[0], data[2])
    monkeypatch.setattr('mm_infobatch.scoring.rows.BLOCK', 4 * C)
    assert np.array_equal(errors(data[0], data[2]), whole)
    sizes = []
    by_rows(lambda block: sizes.append(len(block)) or block, data[0])
    assert sizes == [4] * 10 + [2]


def test_forgetting_counts_what_was_learned_and_then_not():
    high, low, nan = 1.0, 0.5, float('nan')
    losses = np.array(
        [
            [high, low, low, low, high, nan],
            [low, high, low, nan, high, nan],
            [high, low, low, low, high, nan],
            [low, high, low, low, high, nan],
        ]
    )
    assert low < np.log(2) < high
    learned = learned_by_loss(losses)
    assert forgetting(learned).tolist() == [1, 2, 0, 1, 4, 4]
    assert forgetting(learned, never_learned=0).tolist() == [1, 2, 0, 1, 0, 0]  # DeepCore's


# ------------------------------------------------------------------------- selection


def plain_herding(points, count, farthest):
    mean, chosen = points.mean(0), []
    for t in range(1, count + 1):
        target = t * mean - sum((points[i] for i in chosen), np.zeros(points.shape[1]))
        left = [i for i in range(len(points)) if i not in chosen]
        best = max if farthest else min
        chosen.append(best(left, key=lambda i: np.linalg.norm(points[i] - target)))
    return chosen


@pytest.mark.parametrize('farthest', [False, True])
def test_herding_is_the_plain_loop(data, farthest):
    _, features, labels = data
    points = features.astype(np.float64)
    found = order_of(herding(features, None, 30, farthest))
    assert found == plain_herding(points, 30, farthest)
    per_class = herding(features, labels, farthest=farthest)
    for label in range(C):
        rows = np.flatnonzero(labels == label)
        expected = plain_herding(points[rows], len(rows), farthest)
        assert order_of(per_class[rows]) == expected
        assert sorted(per_class[rows]) == pytest.approx(np.arange(1, len(rows) + 1) / len(rows))


def test_herding_of_known_points():
    points = np.array([[0.0], [1.0], [2.0], [3.0], [10.0]], np.float32)
    # The mean is 3.2: 3 is nearest to it, 2 to 6.4 - 3, 3 left for 9.6 - 5, and so on.
    assert order_of(herding(points, None)) == [3, 2, 1, 4, 0]
    assert order_of(herding(points, None, 1, farthest=True)) == [4]
    # By direction 5 of 6 are the same, and the other is the last.
    turned = np.array([[1, 0], [2, 0], [0, 9], [4, 0], [5, 0], [6, 0]], np.float32)
    assert order_of(herding(turned, None, normalize=True))[0] != 2


def test_the_mean_of_a_herded_subset_is_nearer_than_a_random_ones_and_deepcores_is_farther():
    points = rng().normal(size=(500, 8)).astype(np.float32)

    def error(rows):
        return np.linalg.norm(points[rows].mean(0) - points.mean(0))

    nearest = error(order_of(herding(points, None, 50)))
    farthest = error(order_of(herding(points, None, 50, farthest=True)))
    random = np.mean([error(rng().permutation(500)[:50]) for _ in range(20)])
    assert nearest < random / 3 and farthest > 2 * random


def plain_farthest(distances, count, first):
    chosen = [first]
    while len(chosen) < count:
        left = [i for i in range(len(distances)) if i not in chosen]
        chosen.append(max(left, key=lambda i: min(distances[i][j] for j in chosen)))
    return chosen


def test_k_center_is_the_plain_loop(data):
    _, features, labels = data
    distances = np.linalg.norm(features[:, None].astype(np.float64) - features, axis=2)
    found = order_of(k_center(features, seed=3))
    assert found == plain_farthest(distances, N, found[0])
    assert order_of(k_center(features, count=9, seed=3)) == found[:9]
    assert len({order_of(k_center(features, count=1, seed=seed))[0] for seed in range(9)}) > 3
    per_class = k_center(features, labels, 12)
    assert [int((per_class[labels == c] > 0).sum()) for c in range(C)] == [
        round(12 * (labels == c).mean()) for c in range(C)
    ]


def test_k_center_of_known_points_takes_outliers_first():
    points = np.array([[0.0], [1.0], [2.0], [50.0], [20.0]], np.float32)
    for seed in range(10):
        order = order_of(k_center(points, seed=seed))
        if order[0] < 3:
            assert order[1:3] == [3, 4]
        elif order[0] == 3:
            assert order[1:3] == [0, 4]


def test_k_center_of_equal_points_still_takes_each_once():
    assert sorted(order_of(k_center(np.ones((6, 2), np.float32)))) == list(range(6))


def test_contextual_diversity_is_the_plain_loop(data):
    p = softmax(data[0])
    kl = np.array([[(a * np.log(a / b)).sum() for b in p] for a in p])
    found = order_of(contextual_diversity(data[0]))
    assert found == plain_farthest((kl + kl.T) / 2, N, found[0])


def test_contextual_diversity_takes_probabilities_of_zero():
    logits = np.array([[0, -500], [-500, 0], [0, 0], [0, -1]], np.float32)
    for seed in range(5):
        order = order_of(contextual_diversity(logits, seed=seed))
        assert sorted(order) == [0, 1, 2, 3] and {0, 1} <= set(order[:3])


def assert_facility_location(similar, chosen):
    """Each is one of those that gain the most. Two that cover each other gain the same."""
    for step, index in enumerate(chosen):
        values = [similar[[*chosen[:step], i]].max(0).sum() for i in range(len(similar))]
        assert values[index] == pytest.approx(max(values), rel=1e-6)
    assert len(set(chosen)) == len(chosen)


def test_craig_is_plain_facility_location_of_gradients(data):
    logits, features, labels = data
    scores, weights = craig(*data, count=15)
    flat = full_gradients(*data).reshape(N, -1)
    counts = {}
    for label in range(C):
        rows = np.flatnonzero(labels == label)
        distances = np.linalg.norm(flat[rows][:, None] - flat[rows], axis=2)
        chosen = order_of(scores[rows])
        counts[label] = len(chosen)
        assert_facility_location(distances.max() - distances, chosen)
        nearest = distances[chosen].argmin(0)
        assert weights[rows[chosen]].tolist() == np.bincount(nearest).tolist()
    assert sum(counts.values()) == 15 and weights.sum() == N
    assert set(np.flatnonzero(weights)) == set(np.flatnonzero(scores))
    assert np.array_equal(craig(*data, count=15, one_more=True)[1], weights + (weights > 0))


def test_craig_of_two_clusters_takes_one_of_each_with_its_size():
    features = np.array([[10, 0], [10.1, 0], [10, 0.1], [-10, 0], [-10.1, 0]], np.float32)
    logits, labels = np.zeros((5, 2), np.float32), np.zeros(5, np.int64)
    scores, weights = craig(logits, features, labels, 2)
    assert sorted(weights[weights > 0]) == [2, 3]
    assert len({index < 3 for index in np.flatnonzero(scores)}) == 2


def test_craig_gives_each_chosen_sample_a_weight_also_beside_one_of_the_same_gradient():
    logits, labels = np.zeros((6, 2), np.float32), np.array([0, 0, 0, 0, 1, 1])
    features = np.array([[3, 0], [3, 0], [3, 0], [-3, 1], [2, 0], [2, 0]], np.float32)
    for count in range(2, 7):
        for seed in range(5):
            scores, weights = craig(logits, features, labels, count, seed)
            assert np.array_equal(weights > 0, scores > 0) and (scores > 0).sum() == count
            assert weights.sum() == 6
    assert weights.tolist() == [1] * 6


def test_similarities_are_the_largest_distance_minus_each(data):
    flat = full_gradients(*data).reshape(N, -1)
    distances = np.linalg.norm(flat[:, None] - flat, axis=2)
    found = similarities(errors(data[0], data[2]), data[1])
    assert np.allclose(found, distances.max() - distances, atol=1e-3)


def test_lazy_greedy_looks_at_few_gains_and_finds_the_best():
    points = rng().normal(size=(200, 3))
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    similar = (distances.max() - distances).astype(np.float32)
    found = facility_location(similar, 40, rng()).tolist()
    assert len(found) == 40
    assert_facility_location(similar.astype(np.float64), found)
    with pytest.raises(AssertionError):  # control
        assert_facility_location(similar.astype(np.float64), [*found[:20], found[30]])
    looks, taken = [], []

    def gain_of(index):
        looks.append(index)
        return float(10 - index)

    gains = np.array([10.0 - index for index in range(10)])
    assert lazy_greedy(gains, gain_of, taken.append, 4, rng()).tolist() == [0, 1, 2, 3] == taken
    assert len(looks) == 4
    orders = {
        tuple(lazy_greedy(np.ones(5), lambda i: 1.0, taken.append, 5, np.random.default_rng(seed)))
        for seed in range(9)
    }
    assert len(orders) > 5  # ties by chance


def plain_graph_cut(similar, count, trade_off):
    chosen = []
    for _ in range(count):
        left = [i for i in range(len(similar)) if i not in chosen]

        def value(index):
            among = [*chosen, index]  # noqa: B023
            return trade_off * similar[among].sum() - similar[np.ix_(among, among)].sum()

        chosen.append(max(left, key=value))
    return chosen


@pytest.mark.parametrize('trade_off', [1.0, 2.5])
def test_graph_cut_is_the_plain_loop(data, trade_off):
    flat = full_gradients(*data).reshape(N, -1)
    unit = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    similar = 0.5 + unit @ unit.T / 2
    found = order_of(graph_cut(*data, trade_off=trade_off, over_all=True))
    assert found == plain_graph_cut(similar, N, trade_off)
    per_class = graph_cut(*data, count=12, trade_off=trade_off)
    for label in range(C):
        rows = np.flatnonzero(data[2] == label)
        chosen = order_of(per_class[rows])
        assert chosen == plain_graph_cut(similar[np.ix_(rows, rows)], len(chosen), trade_off)


def test_graph_cut_of_known_gradients_takes_the_common_one_and_then_its_opposite():
    features = np.array([[5], [5.01], [5.02], [-5]], np.float32)
    logits, labels = np.zeros((4, 2), np.float32), np.zeros(4, np.int64)
    order = order_of(graph_cut(logits, features, labels, trade_off=0.8))
    assert order[0] < 3 and order[1] == 3


def test_graph_cut_takes_a_gradient_of_zero():
    logits = np.array([[0, 0], [800, 0], [0, 1]], np.float32)  # the second is right, and certain
    features = np.ones((3, 2), np.float32)
    assert sorted(order_of(graph_cut(logits, features, np.zeros(3, np.int64)))) == [0, 1, 2]


def plain_glister(train, validation, count, rounds, step):
    full = full_gradients(*train)
    logits, features, labels = validation
    points = np.concatenate([features, np.ones((len(features), 1))], 1)
    chosen = []
    while len(chosen) < count:
        moved = logits.astype(np.float64)
        if chosen:
            moved = moved - step * points @ full[chosen].mean(0).T
        goal = full_gradients(moved, features, labels).mean(0)
        gains = (full * goal).sum((1, 2))
        left = [i for i in np.argsort(-gains) if i not in chosen]
        chosen += left[: min(-(-count // rounds), count - len(chosen))]
    return chosen


def test_glister_is_the_plain_loop(data):
    held = tuple(values[:15] for values in data)
    rest = tuple(values[15:] for values in data)
    for count, rounds, step in ((13, 4, 2.0), (3, 15, 0.1), (10, 1, 0.1)):
        found = order_of(glister(rest, held, count, rounds, step))
        assert found == plain_glister(rest, held, count, rounds, step)
    once, often = (set(order_of(glister(rest, held, 10, r, 20.0))) for r in (1, 10))
    assert once != often  # a long step changes what the validation data asks for


def test_glister_per_class_chooses_by_the_validation_samples_of_that_class(data):
    scores = glister(data, data, 12, 3, 0.5, per_class=True)
    for label in range(C):
        rows = np.flatnonzero(data[2] == label)
        own = tuple(values[rows] for values in data)
        chosen = order_of(scores[rows])
        assert chosen == plain_glister(own, own, len(chosen), 3, 0.5)
    missing = tuple(values[data[2] != 1] for values in data)
    with pytest.raises(ValueError, match='no sample of class 1'):
        glister(data, missing, 12, per_class=True)


def test_glister_prefers_what_the_validation_data_still_gets_wrong():
    logits, features = np.zeros((4, 2), np.float32), np.ones((4, 1), np.float32)
    train = (logits, features, np.array([0, 1, 0, 1]))
    wrong = (np.array([[0, 3]], np.float32), features[:1], np.array([0]))
    assert sorted(order_of(glister(train, wrong, 2))) == [0, 2]


SELECTIONS = {
    'herding': lambda z, h, y, seed: herding(h, y, count=10, seed=seed),
    'herding, farthest': lambda z, h, y, seed: herding(h, y, count=10, farthest=True, seed=seed),
    'k_center': lambda z, h, y, seed: k_center(h, count=10, seed=seed),
    'contextual_diversity': lambda z, h, y, seed: contextual_diversity(z, count=10, seed=seed),
    'craig': lambda z, h, y, seed: craig(z, h, y, count=10, seed=seed)[0],
    'graph_cut': lambda z, h, y, seed: graph_cut(z, h, y, count=10, seed=seed),
    'glister': lambda z, h, y, seed: glister((z, h, y), (z, h, y), count=10, seed=seed),
    'dp': lambda z, h, y, seed: dataset_pruning(np.zeros_like(h), 10, 0, seed),
}


@pytest.mark.parametrize('method', SELECTIONS)
def test_of_equal_samples_random_ones_are_chosen_and_not_the_first(method):
    equal = np.ones((100, C), np.float32), np.zeros((100, D), np.float32), np.zeros(100, np.int64)
    first, again, other = (SELECTIONS[method](*equal, seed) for seed in (0, 0, 1))
    for scores in (first, other):
        assert np.count_nonzero(scores) == 10
        # All 10 random ones of 100 are among the first 50 for one seed in 1,700.
        assert np.count_nonzero(scores[:50]) < 10
    assert (first == again).all() and (first != other).any()


def test_an_order_is_one_of_each_group_in_proportion_to_its_size():
    labels = np.array([0] * 10 + [1] * 6 + [5] * 4)
    scores = order_scores(20, labels, 7, lambda rows, count: np.arange(count)[::-1])
    assert [int((scores[labels == c] > 0).sum()) for c in (0, 1, 5)] == [4, 2, 1]
    assert scores[:5].tolist() == pytest.approx([0.7, 0.8, 0.9, 1, 0])


# ------------------------------------------------------------------------- influence


def hessian_of(logits, features, damping):
    points = np.concatenate([features, np.ones((len(features), 1))], 1)
    found = np.zeros((C * (D + 1),) * 2)
    for p, x in zip(softmax(logits), points):
        found += np.kron(np.diag(p) - np.outer(p, p), np.outer(x, x)) / len(points)
    return found + damping * np.eye(len(found))


def test_the_hessian_is_that_of_autograd(data):
    logits, features, labels = data
    points = torch.cat([torch.tensor(features), torch.ones(N, 1)], 1).double()

    def loss(layer):
        z = torch.tensor(logits).double() + points @ layer.view(C, D + 1).T
        return functional.cross_entropy(z, torch.tensor(labels))

    zeros = torch.zeros(C * (D + 1)).double()
    expected = torch.autograd.functional.hessian(loss, zeros).numpy()
    assert np.allclose(hessian_of(logits, features, 0), expected, atol=1e-12)
    assert np.sum(np.linalg.eigvalsh(expected) < 1e-12) == D + 1


def test_influence_is_the_gradient_times_the_inverse_hessian(data):
    damping = 1e-2
    flat = full_gradients(*data).reshape(N, -1)
    moves = np.linalg.solve(hessian_of(*data[:2], damping), flat.T).T
    goal = flat[:7].mean(0)
    found = influences(*data, damping)
    assert found.exact
    assert np.allclose(found.norms(), np.linalg.norm(moves, axis=1), rtol=1e-3)
    assert np.allclose(found.selves(), (moves * flat).sum(1), rtol=1e-3, atol=1e-5)
    along = found.along(goal.reshape(C, D + 1).astype(np.float32))
    assert np.allclose(along, moves @ goal, atol=1e-4)
    assert np.allclose(found.sketches(99, rng()), moves, atol=1e-3)
    assert np.allclose(influence(*data, damping=damping), found.norms())
    assert np.allclose(influence(*data, kind='self', damping=damping), found.selves())


def test_a_hessian_that_is_too_large_is_a_kronecker_product(data):
    damping = 1e-2
    p, flat = softmax(data[0]), full_gradients(*data).reshape(N, -1)
    points = np.concatenate([data[1], np.ones((N, 1))], 1)
    left = np.mean([np.diag(each) - np.outer(each, each) for each in p], 0)
    right = points.T @ points / N
    both = np.kron(left + damping**0.5 * np.eye(C), right + damping**0.5 * np.eye(D + 1))
    moves = np.linalg.solve(both, flat.T).T
    goal = flat[:7].mean(0)
    found = influences(*data, damping, exact=False)
    assert not found.exact
    assert np.allclose(found.norms(), np.linalg.norm(moves, axis=1), rtol=1e-3)
    assert np.allclose(found.selves(), (moves * flat).sum(1), rtol=1e-3, atol=1e-5)
    along = found.along(goal.reshape(C, D + 1).astype(np.float32))
    assert np.allclose(along, moves @ goal, atol=1e-4)


@pytest.mark.parametrize('exact', [True, False])
def test_projections_keep_inner_products_on_average(data, exact):
    found = influences(*data, 0.1, exact=exact)
    norms = found.norms()[:6].astype(np.float64)
    generator, squares = rng(), []
    for _ in range(400):
        sketch = found.sketches(8, generator)[:6].astype(np.float64)
        squares.append((sketch**2).sum(1))
    mean, error = np.mean(squares, 0), np.std(squares, 0) / 20
    # 6 means, each beyond 4 standard errors once in 16,000.
    assert (np.abs(mean - norms**2) < 4 * error).all()
    assert (np.abs(mean - 1.5 * norms**2) > 4 * error).all()  # control


def plain_pruning(moves, skips):
    chosen = []
    for _ in range(skips):
        left = [i for i in range(len(moves)) if i not in chosen]
        chosen.append(min(left, key=lambda i: np.linalg.norm(moves[[*chosen, i]].sum(0))))
    return chosen


def test_dataset_pruning_is_the_plain_loop():
    moves = rng().normal(size=(40, 6)).astype(np.float32)
    kept = dataset_pruning(moves, 28, swaps=0)
    assert set(np.flatnonzero(kept == 0)) == set(plain_pruning(moves.astype(np.float64), 12))


def test_dataset_pruning_skips_what_cancels_out():
    moves = np.array([[9, 0], [0.5, 0], [-9, 0.1], [5, 5], [0, 7]], np.float32)
    assert dataset_pruning(moves, 2, swaps=100).tolist() == [0, 0, 0, 1, 1]


def test_swaps_lower_the_norm_and_nearly_reach_the_best_subset():
    moves = rng().normal(size=(12, 3)).astype(np.float32)
    best = min(
        np.linalg.norm(moves[list(rows)].sum(0)) for rows in itertools.combinations(range(12), 6)
    )

    def norm(swaps):
        kept = dataset_pruning(moves, 6, swaps)
        assert kept.sum() == 6
        return np.linalg.norm(moves[kept == 0].sum(0))

    assert best - 1e-6 <= norm(2000) <= norm(0)
    assert norm(2000) < best + 0.35
    assert dataset_pruning(moves, 12).tolist() == [1] * 12


# -------------------------------------------------------------------------- DeepFool


def test_deepfool_of_a_linear_network_is_its_distance_to_the_nearest_boundary():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 6, generator=generator)
    images = torch.randn(20, 6, generator=generator)
    logits = images @ weight.t()
    found = deepfool(lambda x: x @ weight.t(), images)
    expected = []
    for z in logits:
        first = int(z.argmax())
        expected.append(
            min(
                float((z[first] - z[c]) / (weight[first] - weight[c]).norm())
                for c in range(4)
                if c != first
            )
        )
    assert np.allclose((-found).sqrt().numpy(), expected, rtol=1e-2, atol=1e-3)
    proxy = boundary_in_features(logits.numpy(), weight.numpy())
    assert np.allclose(np.sqrt(-proxy), expected, rtol=1e-4)


def test_deepfool_of_images_ends_where_the_prediction_changes():
    generator = torch.Generator().manual_seed(1)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 9), torch.nn.Tanh(),
                                  torch.nn.Linear(9, 5))  # fmt: skip
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    images = torch.randn(16, 3, 2, 2, generator=generator)
    alone = torch.cat([deepfool(network, images[i : i + 1]) for i in range(16)])
    together = deepfool(network, images)
    assert torch.allclose(alone, together, rtol=1e-3) and (together < 0).all()
    assert all(parameter.requires_grad and parameter.grad is None for parameter in
               network.parameters())  # fmt: skip
    stalled = deepfool(network, images, overshoot=0)  # DeepCore: to the boundary, not over it
    assert ((-stalled).sqrt() / (-together).sqrt()).median() == pytest.approx(1, abs=0.1)
    two = deepfool(network, images, classes=2)
    assert (two <= together * 0.999).any()  # the nearest boundary may be that of a third class


def test_deepfool_of_a_network_that_looks_at_nothing_ends():
    """After one step: without a gradient the others would be the same."""
    constant, calls = torch.tensor([[1.0, 0.0]]), []

    def logits_of(images):
        calls.append(len(images))
        return constant + 0 * images.sum(1, keepdim=True)

    assert deepfool(logits_of, torch.ones(3, 2)).tolist() == [0, 0, 0]
    assert calls == [3]


def test_deepfool_of_images_that_no_perturbation_changes_is_finite():
    """A normalized image changes the less the longer it is, so the steps grow."""
    images = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))

    def logits_of(moved):
        certain = 5 + functional.normalize(moved).sum(1)  # 2.5 at least
        return torch.stack([certain, torch.zeros_like(certain)], 1)

    found = deepfool(logits_of, images)
    assert found.isfinite().all() and (found < -1e6).all()
