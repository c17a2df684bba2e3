"""The memory that a method is said to need is what it takes."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from mm_infobatch.scoring import cost, hessian, rows
from mm_infobatch.scoring.calls import Settings
from mm_infobatch.scoring.methods import METHODS

COUNT = 20
CASES = [(name, apart) for name, method in METHODS.items() for apart in {False, method.selects}]
CASES.remove(('dp', True))  # which cannot


@pytest.fixture(scope='module')
def sources(tmp_path_factory):
    """Extractions as a call reads them, of many features and of many classes."""
    generator, found = np.random.default_rng(0), []
    for length, classes, width in ((2000, 10, 200), (2000, 200, 10)):
        folder = tmp_path_factory.mktemp('arrays')
        arrays = {
            'logits': generator.normal(size=(length, classes)).astype(np.float32),
            'features': generator.normal(size=(length, width)).astype(np.float32),
            'labels': np.arange(length) % 4,  # so few groups are not small ones
        }
        for name, values in arrays.items():
            np.save(folder / f'{name}.npy', values)
            arrays[name] = np.load(folder / f'{name}.npy', 'r')
        weight = generator.normal(size=(classes, width)).astype(np.float32)
        extraction = SimpleNamespace(**arrays, weight=weight)
        found.append(
            SimpleNamespace(
                **arrays,
                arrays=(arrays['logits'], arrays['features'], arrays['labels']),
                extraction=lambda extraction=extraction: extraction,
                meta={},
            )
        )
    return found


@pytest.mark.parametrize('name, apart', CASES)
def test_a_method_takes_about_the_memory_that_it_is_said_to(sources, monkeypatch, name, apart):
    monkeypatch.setattr(rows, 'BLOCK', 2**13)  # small beside the data, as on ImageNet
    for module in (hessian, cost):
        monkeypatch.setattr(module, 'MAX_ROWS', 0)  # as there
    method, slack = METHODS[name], 8e5  # of blocks, and of classes x classes
    options = {key: option.default for key, option in method.options.items()}
    if name == 'deepfool':
        options['proxy'] = True
    settings = Settings(COUNT if method.selects else None, apart, options=options)
    for source in sources:
        n, c, d = *source.logits.shape, source.features.shape[1]
        size = cost.Size(n // 4, COUNT // 4, c, d) if apart else cost.Size(n, COUNT, c, d)
        stated = method.cost(size, settings).memory
        tracemalloc.start()
        method.score([source] * method.checkpoints[0], settings)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1.15 * stated + slack
        assert stated < 1.6 * peak + slack


@pytest.mark.parametrize('folder', ['', '/job/step', '/job'], ids=['container', 'step', 'job'])
@pytest.mark.parametrize('version', [1, 2])
def test_free_memory_is_that_of_the_container_or_job_too(tmp_path, folder, version):
    assert cost.free_memory(tmp_path) is None
    (tmp_path / 'proc' / 'self').mkdir(parents=True)
    (tmp_path / 'proc' / 'meminfo').write_text('MemFree: 7 kB\nMemAvailable:    9000 kB\n')
    assert cost.free_memory(tmp_path) == 9000 * 1024
    kinds, prefix = ('memory', 'total_') if version == 1 else ('', '')
    lines = f'3:cpu:/other\n{4 * (version == 1)}:{kinds}:/job/step\n'
    (tmp_path / 'proc' / 'self' / 'cgroup').write_text(lines)
    group = tmp_path / 'sys' / 'fs' / 'cgroup' / kinds / folder.lstrip('/')
    group.mkdir(parents=True)
    limit, used = ('limit_in_bytes', 'usage_in_bytes') if version == 1 else ('max', 'current')
    (group / f'memory.{used}').write_text('5000\n')
    stat = 'anon 3000\ninactive_file 700\nactive_file 300\n'
    stat += 'total_inactive_file 700\ntotal_active_file 300\n' if prefix else ''
    (group / 'memory.stat').write_text(stat)
    (group / f'memory.{limit}').write_text('8000\n')
    assert cost.free_memory(tmp_path) == 8000 - 5000 + 700 + 300
    (group / f'memory.{limit}').write_text('max\n' if version == 2 else f'{2**63 - 4096}\n')
    assert cost.free_memory(tmp_path) == 9000 * 1024
