"""The page on static scores says what the methods are, and its table what the record says."""

import re
from pathlib import Path

import pytest

from experiment_engine import static_scores
from experiment_engine.documents import PLACE, render
from mm_infobatch.scoring.methods import METHODS

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / 'docs' / 'static_scores.md'


def test_the_table_of_the_page_is_what_the_record_says():
    document = DOCUMENT.read_text()
    assert PLACE.search(document) and render(document) == document
    changed = document.replace('| k_center', '| k_centre', 1)  # control
    assert changed != document == render(changed)


def test_the_page_names_every_method_where_it_selects_and_what_deepcore_does():
    document = DOCUMENT.read_text()
    methods = document.partition('## Methods')[2].partition('## The file')[0]
    table, _, deepcore = methods.partition('--deepcore')
    for name, method in METHODS.items():
        (row,) = [
            line for line in table.splitlines() if line.startswith('|') and f'`{name}`' in line
        ]
        cells = [cell.strip() for cell in row.strip('|').split('|')]
        selects = {True: 'per class', False: 'over all', None: 'over all'}[method.per_class]
        assert cells[2] == (selects if method.selects else '-'), name
        assert ('--keep' in cells[3]) == method.needs_count, name
        assert bool(re.search(rf'^\| `{name}` \|', deepcore, re.MULTILINE)) == bool(method.deepcore)
        assert f'`{name}' in document.partition('## Methods')[0], name


def test_every_link_of_the_page_to_a_file_leads_to_one():
    links = re.findall(r'\]\(([^)#]+?)(?:#[^)]*)?\)', DOCUMENT.read_text())
    local = [link for link in links if '://' not in link]
    assert [link for link in local if not (DOCUMENT.parent / link).exists()] == []


def test_the_time_on_imagenet_is_that_measured_times_the_ratio_of_operations():
    run = dict(
        method='k_center',
        settings=dict(count=700, per_class=False, seed=0, deepcore=False, options={}),
        num_samples=1000,
        num_classes=10,
        num_features=100,
        seconds=dict(extraction=1.5, method=9.0),
        processor_seconds=2.0,
        torch='2',
        threads=1,
    )
    text = static_scores.text(dict(hardware='a core', runs=dict(k_center=run)))
    row = [cell.strip() for cell in text.splitlines()[-1].strip('|').split('|')]
    assert row[:4] == ['k_center', 'over all', '1.5 s', '2.00 s']
    hours = 2 * (1_281_167 / 1000) ** 2 * (2048 + 20) / (100 + 20) / 3600
    assert row[4] == f'{hours:,.0f} h'
    assert row[5] == f'{4 * 1_281_167 * 2052 / 1e9:.1f} GB'
    images = dict(run, method='deepfool', settings=dict(run['settings'], options=dict(proxy=False)))
    text = static_scores.text(dict(hardware='a core', runs=dict(deepfool=images)))
    assert '| deepfool | - | 1.5 s | 2.00 s | as its passes | - |' in text


@pytest.mark.parametrize('name', METHODS)
def test_every_method_has_a_cost_that_grows_with_the_data(name):
    method = METHODS[name]
    options = {key: value[0] for key, value in (method.options or {}).items()}
    settings = static_scores.Settings(options=options)
    small, large = (
        method.cost(static_scores.Size(n, n // 2, 10, 50), settings) for n in (1000, 100_000)
    )
    assert 0 < small.operations < large.operations / 50 and 0 < small.memory < large.memory
