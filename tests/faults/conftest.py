"""The table of cases: what each of them is, and how many of its trials ended as they have to."""

import json
import platform
from importlib import metadata
from pathlib import Path

import pytest

STACK = (
    'onedl'
    if any(dist.metadata['Name'] == 'onedl-mmengine' for dist in metadata.distributions())
    else 'openmmlab'
)


def pytest_addoption(parser):
    parser.addoption(
        '--faults-record',
        metavar='FOLDER',
        help='write the results of the marked cases to FOLDER/<stack>.json',
    )


def pytest_configure(config):
    config.addinivalue_line(
        'markers', 'case(group, name, holds): a row of the table in docs/faults.md'
    )
    config.fault_cases = Cases()
    config.pluginmanager.register(config.fault_cases)


class Cases:
    """The rows, from the reports of this process or of those that pytest-xdist has started."""

    def __init__(self):
        self.rows = {}
        self.collected = {}

    def pytest_collection_finish(self, session):
        self.collected.update((item.nodeid, place) for place, item in enumerate(session.items))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids):
        self.collected.update((one, place) for place, one in enumerate(ids))

    def in_order(self):
        """The rows in the order of the tests, whichever process ran them."""
        return sorted(
            self.rows.items(), key=lambda item: min(self.collected[one] for one in item[1]['ids'])
        )

    def pytest_runtest_logreport(self, report):
        found = dict(report.user_properties).get('case')
        if found is None or (report.when != 'call' and not report.failed):
            return
        group, name, holds = found
        ids = self.rows.setdefault((group, name), dict(holds=holds, ids={}))['ids']
        ids[report.nodeid] = report.passed and ids.get(report.nodeid, True)


def pytest_runtest_setup(item):
    mark = item.get_closest_marker('case')
    if mark is not None:
        params = item.callspec.params if hasattr(item, 'callspec') else {}
        item.user_properties.append(('case', [text.format(**params) for text in mark.args]))


def pytest_sessionfinish(session):
    folder = session.config.getoption('--faults-record', default=None)
    if folder is None or hasattr(session.config, 'workerinput'):
        return
    names = (
        'torch',
        'mmengine',
        'onedl-mmengine',
        'mmsegmentation',
        'onedl-mmsegmentation',
        'mmpretrain',
        'onedl-mmpretrain',
    )
    versions = {}
    for dist in metadata.distributions():
        if dist.metadata['Name'] in names:
            versions[dist.metadata['Name']] = dist.version
    cases = [
        dict(
            group=group,
            case=name,
            holds=row['holds'],
            trials=len(row['ids']),
            passed=sum(row['ids'].values()),
        )
        for (group, name), row in session.config.fault_cases.in_order()
    ]
    Path(folder).mkdir(parents=True, exist_ok=True)
    content = dict(
        stack=STACK,
        python=platform.python_version(),
        versions=dict(sorted(versions.items())),
        cases=cases,
    )
    (Path(folder) / f'{STACK}.json').write_text(json.dumps(content, indent=1) + '\n')
