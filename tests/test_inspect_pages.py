"""The pages of real runs of both toolboxes, as files and in a browser."""

import shutil
import time

import cv2
import numpy as np
import pytest
import toolbox_runs as runs
from test_inspect import LIBRARIES, Page

from mm_infobatch import cli

for name in LIBRARIES:
    pytest.importorskip(name, reason='the extra inspect is not installed')

pytestmark = [pytest.mark.filterwarnings(line) for line in runs.TOOLBOX_WARNINGS]
WIDTHS = (1280, 400)
KINDS = ('segmentation', 'classification')


@pytest.fixture(scope='module')
def pages(tmp_path_factory):
    """The page of a segmentation run, and that of two classification runs side by side."""
    folder = tmp_path_factory.mktemp('pages')
    data = runs.write_segmentation_data(folder / 'seg_data', num_images=12)
    cfg = runs.segmentation_config(data, folder / 'seg', 24, val_interval=12)
    runs.train(runs.switch_on(runs.checkpoints_every(cfg, 12)))
    cli.main(['inspect', str(folder / 'seg'), '--out', str(folder / 'seg.html')])

    data = runs.write_classification_data(folder / 'cls_data', num_images=16)
    for name in ('base', 'cls'):
        cfg = runs.classification_config(data, folder / name, 4, val_interval=1)
        cfg = runs.checkpoints_every(cfg, 1, by_epoch=True)
        runs.train(runs.switch_on(cfg) if name == 'cls' else cfg)
    paths = [str(folder / name) for name in ('base', 'cls')]
    cli.main(['inspect', *paths, '--out', str(folder / 'cls.html')])
    return dict(segmentation=folder / 'seg.html', classification=folder / 'cls.html')


def pictures_of(page):
    return [link for link in page.links if link.startswith('data:image')]


def test_the_page_of_segmentation_shows_images_label_maps_and_classes(pages):
    page = Page(pages['segmentation'])
    assert set(page.figures) == {'figure-curves', 'figure-scores-1', 'figure-map-1'}
    assert 'by the label maps of 12 of 12 images' in page.text and 'missing' not in page.text
    assert all(f'\n<tr><td data-value="{each}"' in read(pages['segmentation']) for each in
               runs.SEG_CLASSES)  # fmt: skip
    cards = page.count('li', **{'class': 'card'})
    assert cards >= 12 and len(pictures_of(page)) == 2 * cards and 'mIoU, best' in page.text


def test_a_page_of_segmentation_without_classes_says_why(pages, tmp_path):
    run = pages['segmentation'].with_name('seg')
    cfg = runs.segmentation_config(str(run.with_name('seg_data')), 'unused')
    cfg.dump(tmp_path / 'named.py')
    cfg.train_dataloader.dataset.metainfo = {}
    cfg.dump(tmp_path / 'nameless.py')
    for config, number, reason in (
        ('named.py', '0', '--label-maps 0 reads no label map'),
        ('nameless.py', '9', 'no names of classes for label maps (metainfo=dict(classes=...))'),
    ):
        options = ['--config', str(tmp_path / config), '--label-maps', number, '--images', '0']
        cli.main(['inspect', str(run), '--out', str(tmp_path / 'p.html'), *options])
        text = Page(tmp_path / 'p.html').text
        assert 'The table of classes is missing: ' in text and reason in text


def test_the_page_of_classification_shows_images_labels_and_both_runs(pages):
    page = Page(pages['classification'])
    assert set(page.figures) == {'figure-curves', 'figure-scores-1', 'figure-map-1'}
    assert len({trace['name'] for trace in page.figures['figure-curves']['data']}) == 2
    assert 'as epoch_4.pth has no state of InfoBatch' in page.text
    cards = page.count('li', **{'class': 'card'})
    assert cards >= 16 and len(pictures_of(page)) == cards
    assert page.text.count('class1') > 3 and 'custom_hooks' in page.text


def test_the_files_of_segmentation_name_the_label_maps(pages):
    text = pages['segmentation'].with_name('seg_seg_samples.csv').read_text()
    head, first, *_ = text.splitlines()
    assert 'mask_path' in head and 'ann_dir/train/000.png' in first


def read(path):
    return path.read_text(encoding='utf-8')


# --------------------------------------------------------------------------- a browser


@pytest.fixture(scope='module')
def browser():
    """Headless Chromium."""
    webdriver = pytest.importorskip('selenium.webdriver', reason='selenium is not installed')
    names = ('chromium', 'chromium-browser', 'google-chrome')
    binary = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which('chromedriver')
    if binary is None or driver is None:
        pytest.skip('Chromium or its chromedriver is not installed')
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ('--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'):
        options.add_argument(argument)
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield started
    started.quit()


def opened(browser, path, width):
    """The browser with a page at a width, once its charts are drawn."""
    size = dict(width=width, height=900, deviceScaleFactor=1, mobile=False)
    browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', size)
    browser.get_log('browser')  # of the page before
    browser.get(path.as_uri())
    drawn = "return [...document.querySelectorAll('[data-figure]')].every(one => one.dataset.drawn)"
    end = time.monotonic() + 120
    while not browser.execute_script(drawn):
        assert time.monotonic() < end, 'the charts are not drawn'
        time.sleep(0.1)
    return browser


@pytest.mark.parametrize('width', WIDTHS)
@pytest.mark.parametrize('kind', KINDS)
def test_a_page_loads_without_an_error_draws_its_charts_and_fits_the_window(
    pages, browser, kind, width
):
    opened(browser, pages[kind], width)
    assert browser.get_log('browser') == []
    charts = browser.execute_script(
        "return [...document.querySelectorAll('[data-figure]')].map(one => "
        '[one.querySelectorAll(".trace, .heatmaplayer image, .hm").length, one.clientWidth])'
    )
    assert len(charts) == 3 and all(marks > 0 and 0 < wide <= width for marks, wide in charts)
    assert browser.execute_script('return document.documentElement.scrollWidth') <= width
    loaded = browser.execute_script(
        'return [...document.images].every(one => one.complete && one.naturalWidth > 0)'
    )
    assert loaded and browser.execute_script('return document.images.length') > 0
    picture = np.frombuffer(browser.get_screenshot_as_png(), np.uint8)
    assert cv2.imdecode(picture, cv2.IMREAD_COLOR).std() > 5, 'the window is not blank'


def visible(browser, what):
    return browser.execute_script(
        'const list = document.querySelector(".cards");'
        f'return [...list.children].filter(one => !one.hidden).map(one => {what})'
    )


def choose(browser, select, value):
    browser.execute_script(
        'const one = document.querySelector(`select[name=${arguments[0]}]`);'
        'one.value = arguments[1]; one.dispatchEvent(new Event("change"))',
        select,
        value,
    )


@pytest.mark.parametrize('kind', KINDS)
def test_the_filter_shows_the_images_of_a_class_and_the_order_sorts_them(pages, browser, kind):
    opened(browser, pages[kind], 1280)
    everything = visible(browser, 'one.dataset.index')
    choose(browser, 'class', '1')
    classes = visible(browser, 'one.dataset.classes')
    assert classes and all('1' in each.split() for each in classes)
    assert kind == 'segmentation' or len(classes) < len(everything)
    choose(browser, 'class', '')
    assert visible(browser, 'one.dataset.index') == everything
    choose(browser, 'order', 'score:-1')
    scores = visible(browser, '+one.dataset.score')
    assert scores == sorted(scores) and len(scores) == len(everything)
    choose(browser, 'order', 'place:-1')
    assert visible(browser, 'one.dataset.index') == everything


def test_a_click_on_a_heading_sorts_the_classes_by_it(pages, browser):
    opened(browser, pages['segmentation'], 1280)

    def column(number):
        return browser.execute_script(
            'return [...document.querySelectorAll(".sortable tbody tr")]'
            f'.map(row => row.cells[{number}].dataset.value)'
        )

    def click(number):
        browser.execute_script(
            f'document.querySelectorAll(".sortable th button")[{number}].click()'
        )

    click(2)  # pixels
    down = [float(value) for value in column(2)]
    assert down == sorted(down, reverse=True) and len(set(down)) > 1
    click(2)
    assert [float(value) for value in column(2)] == down[::-1]
    click(0)
    assert column(0) == sorted(runs.SEG_CLASSES)
    click(0)
    assert column(0) == sorted(runs.SEG_CLASSES, reverse=True)


def test_the_button_of_an_axis_moves_the_curves(pages, browser):
    opened(browser, pages['classification'], 1280)
    last = 'return document.querySelector("[data-figure]").data[0].x.slice(-1)[0]'
    iterations = browser.execute_script(last)
    browser.execute_script(
        'document.querySelectorAll(".updatemenu-button")[1]'
        '.dispatchEvent(new MouseEvent("click", {bubbles: true}))'
    )
    assert browser.execute_script(last) == 4 * iterations, 'samples, in batches of 4'


def test_hostile_names_are_shown_as_text(browser, tmp_path):
    import inspect_runs

    hostile = '</script><img src=x onerror="window.hacked = 1"><b>bold</b>'
    dataset = dict(type='MadeUpDataset', length=60, num_classes=2, names=[hostile, '<i>b</i>'])
    run = inspect_runs.write_run(tmp_path / 'run', dataset, 60)
    cli.main(['inspect', str(run), '--labels', hostile, '--out', str(tmp_path / 'p.html')])
    opened(browser, tmp_path / 'p.html', 1280)
    assert browser.get_log('browser') == []
    assert browser.execute_script('return window.hacked') is None
    assert browser.execute_script('return document.images.length') == 0
    legend = 'return document.querySelector(".legendtext").textContent'
    assert browser.execute_script(legend) == hostile
    cell = 'return document.querySelector(".sortable tbody td").textContent'
    assert browser.execute_script(cell) == hostile


def test_long_names_widen_neither_the_page_nor_the_column_of_classes(browser, tmp_path):
    import inspect_runs

    dataset = dict(type='MadeUpDataset', length=60, num_classes=2, names=['x' * 1000, 'y'])
    run = inspect_runs.write_run(tmp_path / 'run', dataset, 60)
    label = 'a long name ' * 9 + 'n' * 99
    cli.main(['inspect', str(run), '--labels', label, '--out', str(tmp_path / 'p.html')])
    opened(browser, tmp_path / 'p.html', 400)
    assert browser.execute_script('return document.documentElement.scrollWidth') <= 400
    opened(browser, tmp_path / 'p.html', 1280)
    width = 'return document.querySelector(".sortable td").getBoundingClientRect().width'
    assert browser.execute_script(width) <= 600
