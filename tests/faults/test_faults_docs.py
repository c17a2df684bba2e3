"""The table of the faults is what the harness has written."""

import json
import re

import pytest
from harness import ROOT

from experiment_engine.documents import PLACE, render
from experiment_engine.measurements import faults

DOCUMENT = (ROOT / 'docs' / 'faults.md').read_text()
RECORDS = ROOT / 'records' / 'faults'


def test_the_table_is_what_the_records_say():
    assert PLACE.search(DOCUMENT)
    assert render(DOCUMENT) == DOCUMENT


def test_a_number_that_was_changed_by_hand_is_found():
    changed = re.sub(r'\d+ of \d+ \|', '0 of 9 |', DOCUMENT, count=1)
    assert changed != DOCUMENT
    assert render(changed) == DOCUMENT


@pytest.mark.parametrize('path', sorted(RECORDS.glob('*.json')), ids=lambda path: path.stem)
def test_every_trial_of_the_records_ended_as_it_has_to(path):
    rows = json.loads(path.read_text())['cases']
    assert rows and [row['case'] for row in rows if row['passed'] != row['trials']] == []
    kills = [row for row in rows if row['group'] == 'Kill it' and row['case'].endswith('one kill')]
    assert {row['trials'] for row in kills} == {20}


def test_a_failed_trial_is_in_the_table(tmp_path):
    row = dict(group='A', case='one', holds='it', trials=3, passed=2)
    content = dict(stack='onedl', python='3', versions=dict(torch='2'), cases=[row])
    (tmp_path / 'onedl.json').write_text(json.dumps(content))
    assert '| one | it | 2 of 3 |' in faults(tmp_path)


@pytest.mark.parametrize('content', ['', '[]', '{"stack": "onedl", "cases": [{}]}'])
def test_a_record_that_is_none_is_an_error(tmp_path, content):
    (tmp_path / 'onedl.json').write_text(content)
    with pytest.raises(ValueError, match='onedl.json is not what pytest --faults-record writes'):
        faults(tmp_path)


def test_a_folder_without_records_is_an_error(tmp_path):
    with pytest.raises(ValueError, match='no record of the harness is there'):
        faults(tmp_path)
