"""Work directories as a run leaves them, for the tests of the page: made up, not trained."""

import json
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS

from mm_infobatch.passes.tracking import SampleTracker
from mm_infobatch.training.score_histogram import histogram


@DATASETS.register_module()
class MadeUpDataset:
    """Sample i has the path ``i.jpg`` in a folder of its class, and no file.

    Args:
        length (int): N.
        num_classes (int): Sample i is of class i % num_classes.
        names (list[str], optional): Names of the classes. Defaults to None.
    """

    def __init__(self, length, num_classes=10, names=None):
        self.length, self.num_classes = length, num_classes
        self.metainfo = dict(classes=names or [f'class {i}' for i in range(num_classes)])

    def __len__(self):
        return self.length

    def get_data_info(self, idx):
        label = idx % self.num_classes
        return dict(img_path=f'data/train/n{label:08}/n{label:08}_{idx}.JPEG', gt_label=label)


def losses_of(length, passes=6, skipped=0.3, seed=0):
    """Scores [N] and the tracker after some passes; the losses fall, those of some samples less."""
    generator = torch.Generator().manual_seed(seed)
    tracker, scores = SampleTracker(length), torch.full((length,), float('nan'))
    hardness = torch.rand(length, generator=generator)
    histograms = []
    for number in range(passes):
        histograms.append(histogram(scores))
        draw = torch.rand(length, generator=generator)
        kept = ((draw >= skipped) | (hardness > 0.5) | (number == 0)).nonzero()[:, 0]
        noise = torch.rand(length, generator=generator)
        scores[kept] = (3 * hardness**4 + noise / (1 + number))[kept]
        tracker.update(kept, scores[kept])
        tracker.end_pass()
    return scores, tracker, histograms


def write_run(
    work_dir, dataset, length, passes=6, track=True, infobatch=True, finished=True, config=True
):
    """Write the work directory of a run by epoch, with 10 iterations a pass.

    Args:
        work_dir (Path): The directory.
        dataset (dict): The training dataset in its config.
        length (int): N.
        track (bool): Whether the checkpoint has a tracker.
        infobatch (bool): Whether it is a run with InfoBatch.
        finished (bool): Whether the run is over; if not, half of it is done.
        config (bool): Whether the config was written.
    """
    work_dir = Path(work_dir)
    vis = work_dir / '20260101_000000' / 'vis_data'
    vis.mkdir(parents=True)
    planned = passes if finished else 2 * passes
    cfg = Config(
        dict(
            train_dataloader=dict(batch_size=length // 10, dataset=dataset),
            train_cfg=dict(max_epochs=planned),
            default_hooks=dict(logger=dict(interval=1)),
        )
    )
    if config:
        cfg.dump(vis / 'config.py')
    rows = []
    for step in range(1, 10 * passes + 1):
        rows.append(dict(lr=0.1 / step, loss=3 / step, time=0.5, iter=step, step=step, epoch=1))
        if step % 10 == 0:
            rows.append({'accuracy/top1': 50.0 + step / 10, 'step': step // 10})
    (vis / 'scalars.json').write_text(''.join(json.dumps(row) + '\n' for row in rows))
    log = ''.join(f'Epoch(train)  [{one}][10/10]\n' for one in range(1, passes + 1))
    vis.parent.joinpath('20260101_000000.log').write_text(f'    GPU number: 1\n{log}')
    checkpoint = dict(state_dict={'weight': torch.zeros(3)})
    if infobatch:
        scores, tracker, histograms = losses_of(length, passes)
        sampler = dict(scores=scores)
        if track:
            sampler['tracked'] = tracker.state_dict()
        checkpoint['infobatch'] = dict(sampler=sampler)
        write_report(work_dir, length, histograms if track else None, passes, planned)
    torch.save(checkpoint, work_dir / f'epoch_{passes}.pth')
    (work_dir / 'last_checkpoint').write_text(str(work_dir / f'epoch_{passes}.pth'))
    return work_dir


def write_report(work_dir, length, histograms, passes, planned):
    """Write ``infobatch.json``: every pass but the first has pruned a fifth."""
    records = []
    for number in range(passes):
        pruned = length // 5 if number else 0
        record = {
            'pass': number,
            'begin_iter': 10 * number,
            'iterations': 10,
            'kept': length - pruned,
            'pruned': pruned,
            'pruned_share': pruned / length,
            'annealing': False,
            'threshold': 1 / number if number else None,
            'mean_score': 1 / number if number else None,
            'seconds': 0.001,
            'trained': length - pruned,
            'full': length,
            'saving': 0.2,
        }
        if histograms is not None:
            record['histogram'] = histograms[number]
        records.append(record)
    trained = sum(record['trained'] for record in records)
    content = dict(
        version=1,
        settings=dict(
            policy='SoftPruning(prune_ratio=0.5)',
            delta=0.875,
            seed=0,
            num_samples=length,
            world_size=1,
            batch_size=length // 10,
            budget='passes',
            schedule_iterations=10 * planned,
            pass_length=10,
        ),
        passes=records,
        totals=dict(
            passes=passes,
            iterations=10 * passes,
            schedule_iterations=10 * planned,
            samples_trained=trained,
            samples_full=passes * length,
            saving=1 - trained / (passes * length),
            seconds_choosing=0.006,
            finished=passes == planned,
        ),
    )
    (work_dir / 'infobatch.json').write_text(json.dumps(content))
