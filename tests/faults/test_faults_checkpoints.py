"""``--resume`` in a work directory in which a kill, a full disk or a move has left its marks."""

import shutil
import subprocess
import sys

import pytest
import toolbox_runs as runs
import torch
from harness import ROOT, Training, assert_ends_as
from mmengine.config import Config
from mmengine.hooks import CheckpointHook

from mm_infobatch.cli.common import UsageError
from mm_infobatch.cli.resume import choose_checkpoint, keeps_only_one, why_not_complete

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]
EXACT = 'the log names it, and the end is that of the uninterrupted run'
REFUSED = 'one error names the file and what to do'


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """Five epochs of 16 images, all checkpoints kept."""
    folder = tmp_path_factory.mktemp('whole')
    data = runs.write_classification_data(folder / 'data')
    cfg = runs.classification_config(data, '', max_epochs=5)
    cfg = runs.switch_on(runs.checkpoints_every(cfg, 4), delta=0.8)
    cfg.default_hooks.checkpoint.save_last = True
    return Training(cfg, folder / 'run').finish()


@pytest.fixture
def killed(whole, tmp_path):
    """The same run, killed in its third pass, with two checkpoints: iter_4 and iter_8."""
    training = Training(whole.cfg, tmp_path / 'run')
    return training.killed(dict(kind='before', at=9))


def damage(path, how):
    content = path.read_bytes()
    if how == 'flipped':
        middle = len(content) // 2
        # More than the padding between two tensors.
        flipped = bytes(byte ^ 255 for byte in content[middle : middle + 256])
        content = content[:middle] + flipped + content[middle + 256 :]
    path.write_bytes(content if how == 'flipped' else content[: int(len(content) * how)])


def stock_resume(training):
    """What mmengine makes of it, without our ``--resume``."""
    code = (
        'import warnings; warnings.simplefilter("ignore")\n'
        'from mmengine.config import Config; from mmengine.runner import Runner\n'
        f'cfg = Config.fromfile({str(training.notes / "0.py")!r}); cfg.resume = True\n'
        'cfg.custom_hooks = [h for h in cfg.custom_hooks if h["type"] == "InfoBatchHook"]\n'
        'Runner.from_cfg(cfg).train()'
    )
    paths = ':'.join(str(ROOT / name) for name in ('tests/faults', 'tests', 'tools', '.'))
    return subprocess.run(
        [sys.executable, '-c', code],
        env={'PYTHONPATH': paths, 'OMP_NUM_THREADS': '1', 'PATH': '/usr/bin:/bin'},
        capture_output=True,
        text=True,
    )


# Where mmengine stops, or begins at the start without a word, ours goes on.
MARKS = {
    'last_checkpoint names a truncated file': 'is incomplete',
    'last_checkpoint names a file with flipped bits': 'is damaged',
    'last_checkpoint names a file that is gone': 'does not exist',
    'last_checkpoint is empty': 'is empty',
    'last_checkpoint is missing': 'has not been written',
}


def leave_mark(work_dir, mark):
    named = work_dir / 'iter_8.pth'
    if mark == 'last_checkpoint names a truncated file':
        damage(named, 0.6)
    elif mark == 'last_checkpoint names a file with flipped bits':
        damage(named, 'flipped')
    elif mark == 'last_checkpoint names a file that is gone':
        named.unlink()
    elif mark == 'last_checkpoint is empty':
        (work_dir / 'last_checkpoint').write_text('')
    else:
        (work_dir / 'last_checkpoint').unlink()


@pytest.mark.default_cases('last_checkpoint names a truncated file')
@pytest.mark.case('Checkpoints', '{mark}', f'goes on from the newest one that is whole: {EXACT}')
@pytest.mark.parametrize('mark', list(MARKS))
def test_a_run_goes_on_from_the_newest_whole_checkpoint(whole, killed, mark):
    leave_mark(killed.work_dir, mark)
    killed.finish('--resume')
    assert_ends_as(killed, whole)
    gone = 'iter_8' in mark or mark.split('names')[-1] != mark
    taken = 'iter_4.pth' if gone else 'iter_8.pth'
    assert MARKS[mark] in killed.log
    assert f'resuming from {killed.work_dir / taken}, the newest complete checkpoint' in killed.log


@pytest.mark.faults
@pytest.mark.case('Checkpoints', 'control: mmengine alone, {mark}', 'it stops, or begins anew')
@pytest.mark.parametrize(
    'mark',
    [
        'last_checkpoint names a truncated file',
        'last_checkpoint names a file that is gone',
        'last_checkpoint is empty',
        'last_checkpoint is missing',
    ],
)
def test_mmengine_alone_does_not_go_on(killed, mark):
    leave_mark(killed.work_dir, mark)
    done = stock_resume(killed)
    if mark == 'last_checkpoint is missing':
        assert done.returncode == 0 and 'latest checkpoint None' in done.stdout
    else:
        assert done.returncode != 0
        assert 'can not be found' in done.stderr or 'PytorchStreamReader' in done.stderr


@pytest.mark.runs
@pytest.mark.case(
    'Checkpoints',
    'killed while the first one is written',
    'begins at the start, and the log says why',
)
def test_a_run_without_a_finished_checkpoint_begins_at_the_start(whole, tmp_path):
    training = Training(whole.cfg, tmp_path / 'run')
    training.killed(dict(kind='write', at='iter_4.pth', share=0.5))
    assert not (training.work_dir / 'last_checkpoint').exists()
    training.finish('--resume')
    assert_ends_as(training, whole)
    assert 'there is no complete checkpoint' in training.log
    assert 'iter_4.pth is incomplete' in training.log


@pytest.mark.case('Checkpoints', 'max_keep_ckpts=1, killed while the next one is written', REFUSED)
def test_the_only_checkpoint_that_was_deleted_before_the_next_is_an_error(whole, tmp_path):
    training = Training(whole.cfg, tmp_path / 'run')
    training.cfg.default_hooks.checkpoint.max_keep_ckpts = 1
    training.killed(dict(kind='write', at='iter_8.pth', share=0.5))
    assert 'max_keep_ckpts=1) deletes the last checkpoint before' in training.log
    ranks, _ = training.start('--resume')
    assert ranks.wait() == [2]
    said = ranks.said()
    assert 'iter_4.pth does not exist' in said and 'iter_8.pth is incomplete' in said
    assert 'keep 2 or more' in said and 'Traceback' not in said


@pytest.mark.case('Checkpoints', '--resume CHECKPOINT, a truncated one', REFUSED)
def test_a_truncated_checkpoint_that_was_asked_for_is_an_error(killed):
    damage(killed.work_dir / 'iter_8.pth', 0.9)
    ranks, _ = killed.start('--resume', str(killed.work_dir / 'iter_8.pth'))
    assert ranks.wait() == [2]
    assert 'iter_8.pth is incomplete: give another one' in ranks.said()
    assert 'Traceback' not in ranks.said()


@pytest.mark.runs
@pytest.mark.case(
    'Checkpoints', 'the work directory was moved', f'goes on from the same checkpoint: {EXACT}'
)
def test_a_work_directory_that_was_moved_goes_on(whole, killed, tmp_path):
    # A copy, as over a network, makes the older checkpoint the newer file.
    for name in ('last_checkpoint', 'iter_8.pth', 'iter_4.pth', 'starts'):
        source, target = killed.work_dir / name, tmp_path / 'moved' / name
        target.parent.mkdir(exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
    shutil.rmtree(killed.work_dir)
    moved = Training(whole.cfg, tmp_path / 'moved')
    moved.starts = killed.starts
    moved.finish('--resume')
    assert_ends_as(moved, whole)
    assert f'resuming from {moved.work_dir / "iter_8.pth"}' in moved.log


# ------------------------------------------------------------------------ without a training


def config_of(folder, **hook):
    return Config(
        dict(
            work_dir=str(folder),
            resume=True,
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', **hook)),
        )
    )


def save(path, **content):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state=torch.arange(100), **content), path)
    return path


def test_where_the_last_checkpoint_is_whole_nothing_is_chosen(tmp_path):
    save(tmp_path / 'iter_9.pth')
    (tmp_path / 'last_checkpoint').write_text(str(save(tmp_path / 'iter_4.pth')))
    cfg = config_of(tmp_path)
    assert choose_checkpoint(cfg) is None and cfg.get('load_from') is None


def test_an_empty_work_directory_is_left_to_mmengine(tmp_path):
    cfg = config_of(tmp_path / 'none')
    assert choose_checkpoint(cfg) is None and cfg.get('load_from') is None


def test_the_best_and_other_files_are_not_gone_on_from(tmp_path):
    for name in ('best_mIoU_iter_9.pth', 'iter_9-abcdef.pth', 'rank0.pth'):
        save(tmp_path / name)
    (tmp_path / 'last_checkpoint').write_text('')
    with pytest.raises(UsageError, match='last_checkpoint is empty, and there is no other'):
        choose_checkpoint(config_of(tmp_path))


class Saver(CheckpointHook):
    pass


@pytest.mark.parametrize('kind', ['mmengine.CheckpointHook', CheckpointHook, Saver])
def test_out_dir_and_filename_tmpl_are_known(tmp_path, kind):
    path = save(tmp_path / 'out' / 'run' / 'step-7.pth')
    (tmp_path / 'run').mkdir()
    cfg = config_of(tmp_path / 'run', out_dir=str(tmp_path / 'out'), filename_tmpl='step-{}.pth')
    cfg.default_hooks.checkpoint.type = kind  # a class in a new-style config
    assert 'has not been written; resuming from' in choose_checkpoint(cfg)
    assert cfg.load_from == str(path)


def test_a_remote_last_checkpoint_is_left_to_mmengine(tmp_path):
    (tmp_path / 'last_checkpoint').write_text('s3://bucket/iter_4.pth')
    cfg = config_of(tmp_path)
    assert choose_checkpoint(cfg) is None and cfg.get('load_from') is None


@pytest.mark.filterwarnings('ignore:TypedStorage is deprecated')  # torch 2.1 of itself
def test_incomplete_and_missing_checkpoints_are_told_from_complete_ones(tmp_path):
    assert why_not_complete(save(tmp_path / 'new.pth')) is None
    torch.save(dict(a=1), tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    assert why_not_complete(tmp_path / 'old.pth') is None
    (tmp_path / 'text.pth').write_text('a web page')
    assert why_not_complete(tmp_path / 'text.pth') == 'is not a PyTorch checkpoint'
    assert why_not_complete(tmp_path / 'none.pth') == 'does not exist'


def test_every_truncation_of_a_checkpoint_is_found(tmp_path):
    content = save(tmp_path / 'whole.pth').read_bytes()
    for length in range(len(content)):
        (tmp_path / 'part.pth').write_bytes(content[:length])
        assert why_not_complete(tmp_path / 'part.pth'), length


def test_a_hook_that_keeps_one_checkpoint_is_named(tmp_path):
    assert keeps_only_one(config_of(tmp_path, max_keep_ckpts=2)) is None
    assert 'keep 2 or more' in keeps_only_one(config_of(tmp_path, max_keep_ckpts=1))
