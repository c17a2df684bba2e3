"""From any moment and with any workers a run goes on exactly, and loads nothing twice."""

import collections
import os

import pytest
import test_resume
import toolbox_runs as runs
import torch
from mmengine.registry import TRANSFORMS
from test_resume import MOMENTS, assert_goes_on, moment

pytestmark = [
    *(pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS),
    # At the end of an epoch, a scheduler steps before this process has trained anything.
    pytest.mark.filterwarnings('ignore:Detected call of `scheduler.step'),
]
ALL_MOMENTS = (*MOMENTS, 'after the last iteration')
# How many, and whether they stay for the next pass; all of these at every moment, ...
WORKERS = ((0, False), (1, True), (2, True))
# ... and these at one more.
MORE = (('in a pruned pass', (1, False)), ('at the end of a pruned pass', (2, False)))
FAST = {('in a pruned pass', (2, True)), ('at the end of a pruned pass', (2, False))}


@TRANSFORMS.register_module()
class NoteLoaded:
    """Write the index of each sample that is loaded, by whichever process.

    Args:
        path (str): Where to.
    """

    def __init__(self, path):
        self.path = path

    def __call__(self, results):
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, f'{results["sample_idx"]} {os.getpid()}\n'.encode())
        os.close(descriptor)
        return results


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """Runs that nobody has interrupted, made when they are asked for."""
    made = {}

    def get(kind):
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            seg = kind == 'segmentation'
            write = runs.write_segmentation_data if seg else runs.write_classification_data
            config = test_resume.seg_config if seg else test_resume.cls_config
            made[kind] = test_resume.whole_run(config(write(folder / 'data'), str(folder / 'run')))
        return made[kind]

    return get


def go_on(run, path, tmp_path, workers, persistent):
    """Resume, and compare what was loaded with what was trained."""
    cfg = runs.resumed(run.cfg, path, tmp_path)
    cfg.train_dataloader.update(num_workers=workers, persistent_workers=persistent)
    cfg.train_dataloader.dataset.pipeline.insert(
        0, dict(type='NoteLoaded', path=str(tmp_path / 'loaded'))
    )
    resumed = runs.train(cfg)
    notes = (tmp_path / 'loaded').read_text().split('\n')[:-1] if resumed.rows else []
    loaded = collections.Counter(int(note.split()[0]) for note in notes)
    trained = [index for indices in resumed.column('indices') for index in indices]
    assert loaded == collections.Counter(trained)
    by_this_process = {int(note.split()[1]) for note in notes} == {os.getpid()}
    assert by_this_process == (workers == 0) or not notes
    return resumed


@pytest.mark.default_cases('in a pruned pass-workers14-classification')
@pytest.mark.case(
    'Resume exactly',
    '{kind}, checkpoint by iteration, {name}',
    'goes on bit for bit with 0, 1 and 2 workers, and loads what is due only',
)
@pytest.mark.parametrize('kind', ['segmentation', 'classification'])
@pytest.mark.parametrize(
    'name, workers',
    [
        pytest.param(name, workers, marks=() if (name, workers) in FAST else pytest.mark.faults)
        for name, workers in (*((name, each) for name in ALL_MOMENTS for each in WORKERS), *MORE)
    ],
)
def test_a_run_goes_on_bit_for_bit_and_loads_what_is_due(whole, tmp_path, kind, name, workers):
    run = whole(kind)
    done = run.count if name == 'after the last iteration' else moment(run, name)
    resumed = go_on(run, f'{run.work_dir}/iter_{done}.pth', tmp_path, *workers)
    assert_goes_on(resumed, run, done)


@pytest.mark.faults
@pytest.mark.case(
    'Resume exactly',
    'classification, checkpoint by epoch, after epoch {epoch} of 6',
    'goes on bit for bit with 0, 1 and 2 workers, and loads what is due only',
)
@pytest.mark.parametrize('epoch', range(1, 7))
@pytest.mark.parametrize('workers', WORKERS)
def test_a_run_goes_on_bit_for_bit_after_an_epoch(whole, tmp_path, epoch, workers):
    run = whole('classification')
    resumed = go_on(run, f'{run.work_dir}/epoch_{epoch}.pth', tmp_path, *workers)
    assert_goes_on(resumed, run, sum(run.steps[:epoch]))


@pytest.mark.faults
@pytest.mark.case('Resume exactly', '{kind}, every iteration of the run', 'goes on bit for bit')
@pytest.mark.parametrize('kind', ['segmentation', 'classification'])
def test_a_run_goes_on_bit_for_bit_from_every_iteration(whole, tmp_path, kind):
    run = whole(kind)
    for done in range(1, run.count + 1):
        folder = tmp_path / str(done)
        folder.mkdir()
        assert_goes_on(go_on(run, f'{run.work_dir}/iter_{done}.pth', folder, 0, False), run, done)


def test_what_is_loaded_is_counted(whole, tmp_path):
    """The control: without our state the pass begins anew, and more is loaded than was due."""
    run = whole('segmentation')
    done = moment(run, 'in a pruned pass')
    checkpoint = torch.load(f'{run.work_dir}/iter_{done}.pth', weights_only=False)
    del checkpoint['infobatch']
    torch.save(checkpoint, tmp_path / 'without.pth')
    resumed = go_on(run, tmp_path / 'without.pth', tmp_path, 0, False)
    due = sum(len(row['indices']) for row in run.recorder.rows[done:])
    assert sum(len(row['indices']) for row in resumed.rows) > due
