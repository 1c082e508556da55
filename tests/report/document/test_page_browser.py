"""The page as a reader meets it, in a real browser: sorted, filtered, enlarged, dark, on a phone, on paper, offline."""

import re

import pytest
from chromium import Chromium, find_chromium
from sweep_factory import default_score, make_sweep

from ablation.records.schema import Status
from ablation.report.build import build

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium or Chrome is installed"),
]
SIGMAS = [0, 0.05, 0.1, 0.5, 2, 10]  # as text 10 would come before 2
MANY = "<b>p2</b>"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Build a report of 22 distinct cells, two of them without a result."""

    def status(config):
        return Status.FAILED if config["noise.sigma"] == 0.5 and config["noise.when"] == "always" else Status.COMPLETED

    grid = {"noise.sigma": SIGMAS, "noise.levels": ["all", MANY], "noise.when": ["train", "always"], "seed": [0, 1]}
    paths = make_sweep(tmp_path_factory.mktemp("page") / "s", grid, status=status, score=lambda c: default_score(c) / 4)
    return build(paths.folder)[1].as_uri()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    browser = Chromium(find_chromium(), tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def page(chromium, address):
    """Open the report on a desktop; afterwards there must be no error and no request to a network."""
    chromium.prefer("light")
    chromium.resize(1280, 900)
    chromium.problems.clear()
    chromium.requests.clear()
    chromium.open(address)
    yield chromium
    assert chromium.problems == []
    assert chromium.requests[0] == address
    assert [r for r in chromium.requests if not r.startswith(("file:", "data:"))] == []


def column(page, name, table=0):
    """The visible texts of a column, from top to bottom."""
    return page.run(
        f"(() => {{ const t = document.querySelectorAll('table')[{table}];"
        f"const i = [...t.tHead.rows[0].cells].findIndex(c => c.textContent === '{name}');"
        "return [...t.tBodies[0].rows].filter(r => r.offsetHeight).map(r => r.cells[i].textContent); })()"
    )


def sort(page, name):
    index = page.run(f"[...document.querySelector('thead tr').cells].findIndex(c => c.textContent === '{name}')")
    page.click(f"th:nth-child({index + 1}) button")


def style(page, selector, name):
    return page.run(f"getComputedStyle(document.querySelector('{selector}')).{name}")


def test_the_browser_notices_errors_and_requests(chromium, tmp_path):
    (tmp_path / "bad.html").write_text("<script src='http://127.0.0.1:9/x.js'></script><script>nothing.there</script>")
    chromium.problems.clear()
    chromium.requests.clear()
    chromium.open((tmp_path / "bad.html").as_uri())
    assert "http://127.0.0.1:9/x.js" in chromium.requests
    assert any("nothing is not defined" in problem for problem in chromium.problems)


def test_it_opens_with_the_answer_and_all_rows(page):
    assert page.run("document.querySelector('main').firstElementChild.className") == "answer"
    assert len(column(page, "n")) == 1 + 5 * 2 * 2
    assert page.run("[...document.images].every(image => image.naturalWidth > 0)")
    assert page.run("document.querySelector('td b')") is None and MANY in column(page, "noise.levels")


def test_a_column_is_sorted_by_size_and_the_second_time_backwards(page):
    sort(page, "noise.sigma")
    values = [float(v) for v in column(page, "noise.sigma")]
    assert values == sorted(values) and values[-1] == 10
    sort(page, "noise.sigma")
    assert [float(v) for v in column(page, "noise.sigma")] == values[::-1]
    assert page.run("document.querySelectorAll('[aria-sort]').length") == 1
    assert style(page, "[aria-sort] button", "content") != "none"


@pytest.mark.parametrize("name", ["segm/AP", "difference", "95 % interval"])
def test_signed_numbers_are_sorted_by_size_and_what_is_none_stays_last(page, name):
    def numbers(texts):
        return [float(found.group(1)) for text in texts if (found := re.match(r"\[?([-+]?\d+\.?\d*)", text))]

    for sign in (1, -1):
        sort(page, name)
        texts = column(page, name)
        known = numbers(texts)
        assert len(known) > 15 and len(set(known)) > 3
        assert known == sorted(known, reverse=sign < 0)
        assert numbers(texts[: len(known)]) == known and len(texts) > len(known)


def test_rows_are_filtered_by_all_words_and_come_back(page):
    page.click(".filter input")
    page.type("Always p2")
    levels, when = column(page, "noise.levels"), column(page, "noise.when")
    assert len(when) == 5 and set(when) == {"always"} and set(levels) == {MANY}
    assert page.run("document.querySelector('.filter span').textContent") == "5 of 21 rows"
    sort(page, "noise.sigma")
    assert column(page, "noise.sigma") == ["0.05", "0.1", "0.5", "2", "10"]
    page.run("document.querySelector('.filter input').select()")
    page.type("nothing has this name")
    assert column(page, "n") == []
    page.run("document.querySelector('.filter input').select()")
    page.type(" ")
    assert len(column(page, "n")) == 21


@pytest.mark.parametrize("end", ["click", "Escape"])
def test_a_figure_is_enlarged_to_the_window_and_put_back(page, end):
    def width():
        return page.run("document.querySelector('.zoom').getBoundingClientRect().width")

    small = width()
    page.click(".zoom")
    assert width() == 1280 > small
    assert page.run("document.elementFromPoint(640, 450).closest('.zoom') !== null")
    page.press("Escape") if end == "Escape" else page.click(".zoom")
    assert width() == small


def test_it_is_dark_for_who_asks_for_dark_and_figures_keep_their_white_ground(page):
    def lightness(selector, what):
        return sum(map(int, re.findall(r"\d+", style(page, selector, what))[:3])) / 3

    assert lightness("body", "backgroundColor") - lightness("body", "color") > 200
    page.prefer("dark")
    assert lightness("body", "color") - lightness("body", "backgroundColor") > 200
    assert lightness(".zoom", "backgroundColor") == 255


def test_a_phone_moves_tables_sideways_and_not_the_page(page, address):
    page.resize(390, 844)
    page.open(address)
    assert page.run("document.documentElement.scrollWidth") == 390
    assert page.run("(t => t.scrollWidth > t.clientWidth)(document.querySelector('.scroll'))")
    page.run("document.querySelector('.scroll').scrollLeft = 150")
    left = "(e => e.getBoundingClientRect().left)"
    assert page.run(f"{left}(document.querySelector('td')) - {left}(document.querySelector('.scroll'))") == 0


def test_the_heads_of_a_long_table_stay_in_sight(page):
    page.run("document.querySelector('.scroll').scrollIntoView()")
    page.resize(1280, 400)
    page.run("document.querySelector('.scroll').scrollTop = 200")
    top = "(e => e.getBoundingClientRect().top)"
    assert page.run(f"{top}(document.querySelector('th')) - {top}(document.querySelector('.scroll'))") == 0


def test_paper_has_all_rows_and_no_controls(page):
    page.resize(1280, 300)
    page.prefer("dark", media="print")
    assert style(page, ".filter", "display") == "none"
    assert style(page, "body", "backgroundColor") == "rgb(255, 255, 255)"
    assert page.run("[...document.querySelectorAll('.scroll')].every(e => e.scrollHeight <= e.clientHeight + 1)")
    # Chromium repeats the head of a table on each sheet, but would leave out what is written on buttons.
    assert style(page, "th button", "display") == "contents"
    assert style(page, "thead", "breakInside") == "avoid"
    assert page.print().startswith(b"%PDF-")


def test_links_are_to_files_beside_the_page(page, address):
    links = page.run("[...document.links].map(link => link.href)")
    assert links and all(link.startswith(address.removesuffix("index.html")) for link in links)
