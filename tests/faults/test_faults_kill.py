"""Killed at any moment and resumed, a run ends as one that nobody has interrupted."""

import harness
import pytest
import toolbox_runs as runs
from harness import Training, assert_ends_as, draw_moments

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]

NUM_SAMPLES, EVERY, SEED = 25, 5, 20240424
# Of the twenty, those that every run of the tests makes.
FAST = {'segmentation-1': (1, 4, 8), 'classification-2': (5, 9)}


@pytest.fixture(scope='session')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    return dict(
        segmentation=runs.write_segmentation_data(folder / 'seg', num_images=NUM_SAMPLES),
        classification=runs.write_classification_data(folder / 'cls', num_images=NUM_SAMPLES),
    )


def config(data, kind, world_size):
    """Five passes over 25 images, the last of them annealing; a checkpoint every 5 iterations."""
    batch_size = 4 // world_size
    length = 7
    if kind == 'segmentation':
        cfg = runs.segmentation_config(data[kind], '', max_iters=5 * length, batch_size=batch_size)
    else:
        cfg = runs.classification_config(data[kind], '', max_epochs=5, batch_size=batch_size)
        cfg.custom_hooks = [dict(type='CheckpointHook', by_epoch=True, interval=1)]
    cfg = runs.checkpoints_every(cfg, EVERY, max_keep_ckpts=3)
    cfg.default_hooks.checkpoint.save_last = True
    return runs.switch_on(cfg, delta=0.8)


@pytest.fixture(scope='session')
def whole(data, tmp_path_factory):
    """Runs that nobody has interrupted, made when they are asked for."""
    made = {}

    def get(kind, world_size):
        if (kind, world_size) not in made:
            cfg = config(data, kind, world_size)
            training = Training(cfg, tmp_path_factory.mktemp(f'{kind}{world_size}'))
            made[kind, world_size] = training.finish(world_size=world_size)
        return made[kind, world_size]

    return get


def moments_of(whole, kind, count=20):
    """The twenty of a run: of what it did follow how long it is and what it writes."""
    (rows,) = whole.rows()
    iterations = len(rows)
    checkpoints = [f'iter_{done}.pth' for done in range(EVERY, iterations + 1, EVERY)]
    if kind == 'classification':
        ends = [a['pass'] for a, b in zip(rows, rows[1:]) if a['pass'] != b['pass']]
        checkpoints += [f'epoch_{index + 1}.pth' for index in ends]
    return draw_moments(SEED, count, checkpoints, iterations)


def trials():
    for kind in ('segmentation', 'classification'):
        for world_size in (1, 2):
            for number in range(20):
                fast = number in FAST.get(f'{kind}-{world_size}', ())
                yield pytest.param(
                    kind, world_size, number, marks=() if fast else pytest.mark.faults
                )


@pytest.mark.default_cases('segmentation-1-4')
@pytest.mark.case(
    'Kill it',
    '{kind}, {world_size} process(es): one kill',
    'the end is that of the uninterrupted run, bit for bit',
)
@pytest.mark.parametrize('kind, world_size, number', list(trials()))
def test_a_run_that_was_killed_ends_as_if_it_had_not(whole, tmp_path, kind, world_size, number):
    expected = whole(kind, world_size)
    moment = moments_of(expected, kind)[number]
    training = Training(expected.cfg, tmp_path)
    training.killed(moment, world_size=world_size)
    training.finish('--resume', world_size=world_size)
    assert_ends_as(training, expected, world_size)
    if moment.get('empties'):
        assert 'last_checkpoint is empty; resuming from' in training.log


@pytest.mark.faults
@pytest.mark.case(
    'Kill it',
    '{kind}, {world_size} process(es): six kills, one after another',
    'the end is that of the uninterrupted run, bit for bit',
)
@pytest.mark.parametrize('world_size', [1, 2])
@pytest.mark.parametrize('kind', ['segmentation', 'classification'])
def test_a_run_that_was_killed_again_and_again_ends_as_if_it_had_not(
    whole, tmp_path, kind, world_size
):
    expected = whole(kind, world_size)
    iterations = len(expected.rows()[0])
    training = Training(expected.cfg, tmp_path)
    resumed_with = set()
    for number, at in enumerate(range(2, iterations - 1, max(1, iterations // 6))):
        if (tmp_path / 'last_checkpoint').exists():
            # Not before there is a checkpoint: a run that begins with persistent workers draws
            # fewer random numbers than one without, in PyTorch itself, and its checkpoints say so.
            workers = number % 3
            training.cfg.train_dataloader.update(
                num_workers=workers, persistent_workers=workers > 0
            )
            resumed_with.add(workers)
        if number % 2:
            name = f'iter_{-(-(at + 1) // EVERY) * EVERY}.pth'
            moment = dict(kind='write', at=name, share=0.3)
        else:
            moment = dict(kind='within', at=at)
        training.killed(moment, '--resume', world_size=world_size)
    training.finish('--resume', world_size=world_size)
    assert training.starts >= 6 and resumed_with == {0, 1, 2}
    assert_ends_as(training, expected, world_size)


def test_the_moments_are_the_same_for_the_same_seed_and_of_every_kind():
    names = [f'iter_{index}.pth' for index in range(3, 30, 3)]
    moments = draw_moments(1, 20, names, 30)
    assert moments == draw_moments(1, 20, names, 30) != draw_moments(2, 20, names, 30)
    assert {moment['kind'] for moment in moments} == {
        'before',
        'within',
        'after',
        'time',
        'report',
        'write',
    }
    writes = [moment for moment in moments if moment['kind'] == 'write']
    assert len(writes) == 10 and {moment['share'] < 1 for moment in writes} == {True, False}


def test_the_comparison_finds_what_differs(whole, tmp_path):
    """The control: a run of another seed differs in each part that is compared."""
    expected = whole('segmentation', 1)
    cfg = runs.copy_of(expected.cfg)
    cfg.randomness.seed = 8
    other = Training(cfg, tmp_path).finish()
    with pytest.raises(AssertionError, match='they differ: rank 0, iteration 0/'):
        assert_ends_as(other, expected)
    left, right = other.last, expected.last
    for key in ('state_dict', 'optimizer', 'infobatch'):
        assert harness.differences(left[key], right[key]), key
        assert not harness.differences(right[key], right[key]), key
