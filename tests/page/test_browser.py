"""The page in a real browser: it loads in silence, and what can be used works."""

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import jaxsvd
from jaxsvd.commands.report import report
from jaxsvd.results.statistics import wilson

from . import test_explanation, written_runs
from .browser import Browser, browser, missing

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]
HOSTILE = "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 2'>"
DOWN = "\ue015"  # WebDriver's arrow keys
RIGHT = "\ue014"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as session:
        yield session


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = written_runs.sweep(tmp_path_factory.mktemp("runs") / "sweep", shots=(0, 10), seeds=(0, 1))
    report(run)
    return run


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "search"
    sizes = {"validation_size": 40, "test_size": 30}
    rates = [0.0, 0.5, 0.995]
    jaxsvd.search(jaxsvd.load(), rates=rates, layer=0, out=run, save_prompts=True, **sizes)
    report(run)
    return run


def opened(chromium: Browser, run: Path) -> Browser:
    """The page of a run, loaded without a word and without a request."""
    address = (run / "report.html").as_uri()
    chromium.width(1000)
    chromium.open(address)
    assert chromium.run("return document.documentElement.dataset.ready") == "yes"
    assert chromium.console() == []
    assert chromium.requests() == [address]
    return chromium


def tip(page: Browser) -> list[str]:
    """Lines of the first chart's tooltip."""
    return page.run(
        "return [...document.querySelectorAll('.chart > .tip')[0].children]"
        ".map((line) => line.textContent)"
    )


def series(page: Browser) -> set[str]:
    """Names of the curves that are drawn."""
    return set(
        page.run(
            "return [...document.querySelectorAll('.series')].map((group) => group.dataset.name)"
        )
    )


@pytest.mark.long
def test_hover_and_keys_tell_counts_and_interval(chromium: Browser, searched: Path) -> None:
    page = opened(chromium, searched)
    result = json.loads((searched / "result.json").read_text())
    name = f"validation {result['module']} {result['layer']}"
    for number, score in enumerate(result["validation"], 1):
        page.hover(f".series[data-name='{name}'] .mark:nth-of-type({2 * number + 1})")
        low, high = wilson(score["correct"], score["total"])
        lines = tip(page)
        assert lines[1].startswith(f"rate {score['rate']:g}, ")
        assert lines[2].startswith(f"{score['correct']} of {score['total']} right")
        assert lines[3] == f"95 % interval {low:.4f} to {high:.4f}"
    page.type(".chart svg", RIGHT)
    page.type(".chart svg", RIGHT + DOWN)
    assert tip(page)[0].endswith("test")


@pytest.mark.long
def test_toggles_hide_and_show_curves(chromium: Browser, swept: Path) -> None:
    page = opened(chromium, swept)
    everything = {f"validation {m} {n}" for m in ("mlp", "attn") for n in (0, 1, 6, 7)}
    assert series(page) == everything
    page.click("fieldset[data-key=layer] label:nth-of-type(2) input")
    assert series(page) == {name for name in everything if not name.endswith(" 1")}
    page.click("fieldset[data-key=module] label:nth-of-type(1) input")
    assert series(page) == {f"validation attn {n}" for n in (0, 6, 7)}
    page.click("fieldset[data-key=layer] button:nth-of-type(2)")
    assert series(page) == set()
    page.click("fieldset[data-key=layer] button:nth-of-type(1)")
    page.click("fieldset[data-key=module] label:nth-of-type(1) input")
    assert series(page) == everything
    assert page.console() == []


def test_heat_map_follows_the_draw(chromium: Browser, swept: Path) -> None:
    """Its numbers are differences of the cells; the selects of the two figures are in step."""
    page = opened(chromium, swept)
    page.run(
        "for (const select of document.querySelectorAll('.controls select')) {"
        "  const name = select.parentElement.textContent;"
        "  const wanted = name.startsWith('shots') ? '0' : name.startsWith('seed') ? '1' : null;"
        "  if (wanted === null || select.closest('.flip-controls')) continue;"
        "  select.value = wanted; select.dispatchEvent(new Event('change')); break; }"
        "const seed = [...document.querySelectorAll('.controls select')]"
        "  .find((s) => s.parentElement.textContent.startsWith('seed'));"
        "seed.value = '1'; seed.dispatchEvent(new Event('change'));"
    )
    cells = json.loads((swept / "result.json").read_text())["cells"]
    accuracy = {
        (c["module"], c["layer"], c["rate"]): c["accuracy"]
        for c in cells
        if (c["shots"], c["seed"]) == (0, 1)
    }
    shown = page.run(
        "return [...document.querySelectorAll('table.map')].map((map) =>"
        "  [...map.tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.textContent)))"
    )
    for module, rows in zip(("mlp", "attn"), shown, strict=True):
        for layer, row in zip((0, 1, 6, 7), rows, strict=True):
            changes = [
                accuracy[module, layer, r] - accuracy[module, layer, 0] for r in written_runs.RATES
            ]
            reported = [float(text.replace("\N{MINUS SIGN}", "-")) for text in row]
            assert reported == pytest.approx([layer, *changes[1:]], abs=5e-4)
    page.hover("table.map td")
    rates = page.run("return document.querySelectorAll('.maps + .tip div')[1].textContent")
    assert rates.startswith("rate 0.1, ")
    captions = page.run(
        "return [...document.querySelectorAll('figcaption')].map((caption) => caption.textContent)"
    )
    assert all(caption.startswith("Shown: 0 shots, seed 1.") for caption in captions[:2])


def test_search_and_filters_of_the_flips(chromium: Browser, swept: Path) -> None:
    page = opened(chromium, swept)
    texts = "return [...document.querySelectorAll('ol.flips summary')].map((s) => s.textContent)"
    assert len(page.run(texts)) == 50
    page.click(".flip-controls ~ button")
    assert len(page.run(texts)) == 100
    page.type("input[type=search]", "NUMBER 63,")
    actual = page.run(texts)
    assert actual
    assert all("number 63," in text for text in actual)
    page.run(
        "const select = document.querySelector('.flip-controls select');"
        "select.selectedIndex = 1; select.dispatchEvent(new Event('change'));"
    )
    less = page.run(texts)
    assert 0 < len(less) < len(actual)
    assert len({text.split("validation")[0] for text in less}) == 1
    page.click("ol.flips summary")
    prompt = page.text(".opened > pre")
    assert prompt == "text: a film about number 63, and <b>nothing</b> else\nsentiment:"
    page.type("input[type=search]", "nowhere")
    assert page.run(texts) == []


@pytest.mark.parametrize("width", [1000, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_fits_and_stays_legible(chromium: Browser, swept: Path, width: int, dark: bool) -> None:
    """Nothing sticks out sideways; ink and page stand apart in both schemes."""
    page = opened(chromium, swept)
    page.width(width)
    page.dark(dark)
    assert page.run("return document.documentElement.scrollWidth") <= width
    tones = page.run(
        "const style = getComputedStyle(document.documentElement);"
        "return [style.color, style.backgroundColor].map((c) => c.match(/\\d+/g).map(Number))"
    )
    ink, paper = (sum(tone[:3]) / 3 for tone in tones)
    assert (ink > paper) == dark
    assert abs(ink - paper) > 180
    page.dark(False)


def test_hostile_texts_are_only_text(chromium: Browser, tmp_path: Path) -> None:
    """Data cannot become markup or script, nor end the element that holds it."""
    odd = HOSTILE + "\"'`\x00\u2028\u202eabc\u05d0\U0001f600{{data}}<!--\ud800"
    run = written_runs.sweep(tmp_path / "run", rates=(0.0, 0.9), text=lambda *_: odd + "\n" + odd)
    result = json.loads((run / "result.json").read_text())
    result["model"]["source"] = result["task"]["name"] = result["other"] = odd
    result["notices"] = result["task"]["labels"] = [odd, odd]
    result[odd] = [{odd: odd}]
    written_runs.write(run / "result.json", result)
    report(run)
    page = opened(chromium, run)
    page.click("ol.flips summary")
    assert page.run("return window.broken === undefined && document.images.length === 0")
    assert page.run("return document.scripts.length") == 2
    prompt = page.text(".opened > pre")
    assert prompt.startswith(HOSTILE + "\"'`\N{SYMBOL FOR NULL}")
    assert "\N{MATHEMATICAL LEFT ANGLE BRACKET}U+202E" in prompt
    assert "\u05d0\U0001f600{{data}}<!--\N{MATHEMATICAL LEFT ANGLE BRACKET}U+D800" in prompt


def test_a_server_is_asked_for_the_page_alone(chromium: Browser, swept: Path) -> None:
    requested: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            requested.append(self.path)

    handler = partial(Handler, directory=str(swept))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        chromium.open(f"http://127.0.0.1:{server.server_port}/report.html")
        chromium.click("ol.flips summary")
        assert chromium.console() == []
        server.shutdown()
        thread.join()
    assert requested == ["/report.html"]


@pytest.mark.long
def test_words_of_a_table_stay_whole_on_a_phone(chromium: Browser, searched: Path) -> None:
    """A wide table scrolls instead of breaking `validation` into letters."""
    page = opened(chromium, searched)
    page.width(390)
    row, word = page.run(
        "const cell = document.querySelector('section table tbody td');"
        "return [cell.getBoundingClientRect().height, parseFloat(getComputedStyle(cell).fontSize)]"
    )
    assert row < 2 * word


def test_an_explanation_is_drawn_and_can_be_reduced(chromium: Browser, tmp_path: Path) -> None:
    """Headings, tables of every kind, and a picture whose lines can be taken away."""
    written = test_explanation.write_search(tmp_path / "search")
    report(tmp_path / "search")
    page = opened(chromium, tmp_path / "search")
    headings = page.run("return [...document.querySelectorAll('h2, h3')].map((h) => h.textContent)")
    assert "Is it real? What changed: label prior" in headings
    for title in ("Controls", "Luck of the demonstrations", "What else changed"):
        assert title in headings
    assert "What the models say" in headings
    drawn = {"untouched", "truncated", "noise"}
    assert drawn <= series(page)
    page.click("fieldset[data-key=models] label:nth-of-type(3) input")
    assert "noise" not in series(page)
    text = page.run("return document.body.textContent")
    assert f"{written['majority']:.4f}" in text
