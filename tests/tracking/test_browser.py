"""The projector page in a real browser: what the server accepts, the page can still refuse."""

import json
import re
import shutil
import subprocess
import sys
import time
from urllib.request import urlopen

import pytest
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from sklearn.datasets import load_digits

from lightning_invariant.tracking import announce, conclude, dashboard, write_projector

pytestmark = pytest.mark.browser
PAGE = "/data/plugin_entry.html?name=projector"
FLAGS = (
    "--headless=new --no-sandbox --disable-dev-shm-usage --use-gl=angle --use-angle=swiftshader "
    "--enable-unsafe-swiftshader --disable-background-networking --window-size=1400,900"
)
AGES = ("newest: step 100", "older 1: step 90", "older 2: step 9")
# The page nests shadow roots and frames.
FIND = """
const found = [];
const walk = root => {
  for (const node of root.querySelectorAll('*')) {
    if (node.matches(arguments[0])) found.push(node.innerText);
    if (node.shadowRoot) walk(node.shadowRoot);
    if (node.tagName === 'IFRAME' && node.contentDocument) walk(node.contentDocument);
  }
};
walk(document);
return found;
"""


TEXT = FIND.replace("innerText", "textContent")  # hidden ones too
SLIDERS = (".tsne-perplexity", ".tsne-learning-rate", ".umap-neighbors", ".umap-min-dist")
CLICK = FIND.replace("found.push(node.innerText)", "{ found.push(node.innerText); node.click(); }")


@pytest.fixture
def tensorboard(tmp_path):
    """Starts TensorBoard on a port that the system chooses; gives a function from log directory to address."""
    started = []

    def start(logdir):
        log = tmp_path / "tensorboard.log"
        command = [
            sys.executable,
            "-m",
            "tensorboard.main",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--logdir",
            str(logdir),
        ]
        with log.open("w") as stream:
            started.append(subprocess.Popen([*command, "--load_fast", "false"], stdout=stream, stderr=stream))
        _until(lambda: (address := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())) and address, log.read_text)
        address = re.search(r"http://127\.0\.0\.1:\d+", log.read_text()).group()
        _until(lambda: "projector" in json.load(urlopen(f"{address}/data/plugins_listing")), log.read_text)
        return address

    yield start
    for process in started:
        process.terminate()
        process.wait(20)


@pytest.fixture
def browser():
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium, driver = shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("Chromium and its driver are not installed (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in FLAGS.split():
        options.add_argument(flag)
    page = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield page
    page.quit()


def _until(condition, told, seconds=60):
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(told())
        time.sleep(0.2)
    return value


def points_on_page(browser, address):
    """Number of points and of dimensions, once the page has counted them."""
    browser.get(address + PAGE)
    _until(lambda: _digits(browser, ".numDataPoints"), lambda: browser.execute_script(FIND, "body"))
    return _digits(browser, ".numDataPoints"), _digits(browser, "span.dim")


def _digits(browser, selector):
    return next((int(text) for text in browser.execute_script(FIND, selector) if text.isdigit() and int(text)), 0)


def test_the_page_shows_all_points(tmp_path, tensorboard, browser):
    digits = load_digits()
    images = torch.from_numpy(digits.images[:500])[:, None]
    labels = {"digit": digits.target[:500], "note": ["a\nb"] * 500}
    z = images.flatten(1).float()
    projected = z.sort(dim=1).values[:, -16:]
    z[7, 0], projected[7, 0] = float("nan"), float("nan")
    write_projector(tmp_path / "run", "raw", 0, z, labels=labels, thumbnails=images)
    write_projector(tmp_path / "run", "invariant", 0, projected, labels=labels, thumbnails=images)
    address = tensorboard(tmp_path / "run")
    assert points_on_page(browser, address) == (499, 16)  # first by name
    tags = " ".join(browser.execute_script(FIND, "body"))
    assert "error" not in tags.lower()
    time.sleep(3)  # sprites and the first frames
    assert browser.get_screenshot_as_file(str(tmp_path / "projector.png"))


@pytest.mark.parametrize("counts", [(60, 60, 60), (90, 40, 60), (90, 60, 30)], ids=["alike", "more", "fewer"])
def test_the_page_opens_with_the_newest_step(tmp_path, tensorboard, browser, counts):
    # Steps of one, two and three digits, told apart by their columns.
    for columns, (step, count) in enumerate(zip((9, 90, 100), counts, strict=True), start=4):
        for tag in ("raw", "invariant"):
            write_projector(tmp_path / "run", tag, step, torch.randn(count, columns), labels=range(count))
    assert points_on_page(browser, tensorboard(tmp_path / "run")) == (counts[-1], 6)
    shown = [
        text.strip().split("\n")[0].strip() for text in browser.execute_script(FIND, "paper-item") if ": step" in text
    ]
    assert shown[0] == "invariant, newest: step 100"
    assert sorted(shown) == [f"{tag}, {age}" for tag in ("invariant", "raw") for age in AGES]


@pytest.mark.parametrize("columns", [5, 2])
def test_one_click_colours_by_label(tmp_path, tensorboard, browser, columns):
    labels = {"digit": [i % 3 for i in range(600)], "note": [f"note {i}" for i in range(600)]}
    write_projector(tmp_path / "run", "raw", 0, torch.randn(600, columns), labels=labels)
    points_on_page(browser, tensorboard(tmp_path / "run"))
    button = ".state-radio paper-icon-button"
    _until(lambda: browser.execute_script(FIND, button), lambda: browser.execute_script(FIND, "body"))
    sliders = [browser.execute_script(TEXT, f"{slider} span") for slider in SLIDERS]
    assert _legend(browser) == []  # the page lists bookmarks and opens without one
    browser.execute_script(CLICK, button)
    _until(lambda: len(_legend(browser)) == 3, lambda: _legend(browser))
    assert [entry.split() for entry in _legend(browser)] == [["0", "200"], ["1", "200"], ["2", "200"]]
    assert [browser.execute_script(TEXT, f"{slider} span") for slider in SLIDERS] == sliders
    errors = [entry for entry in browser.get_log("browser") if entry["source"] == "javascript"]
    assert errors == []


def _legend(browser):
    return browser.execute_script(FIND, ".item:has(> .shape)")


def test_the_dashboard_opens_with_its_charts(tmp_path, tensorboard, browser):
    logger = TensorBoardLogger(tmp_path, name="run", version=0)
    announce({"invariance/features": 8}, dashboard(["knn"]), [logger], None, hyperparameters=None)
    for step in range(3):
        names = [f"invariance/knn{end}" for end in ("", "_raw", "_gap")]
        names += [f"invariance_details/knn_gap_{end}" for end in ("lower", "upper")]
        logger.log_metrics(dict.fromkeys(names, 0.1 * step), step)
    logger.experiment.close()
    browser.get(tensorboard(tmp_path) + "/#custom_scalars")
    cards = "tf-custom-scalar-multi-line-chart-card, tf-custom-scalar-margin-chart-card"
    charts = len(dashboard(["knn"])["invariance"])
    _until(lambda: len(browser.execute_script(FIND, cards)) == charts, lambda: str(browser.execute_script(FIND, cards)))


def test_the_hparams_page_has_a_column_of_each_last_number(tmp_path, tensorboard, browser):
    for name, score in (("a", 0.53125), ("b", 0.90625)):
        logger = TensorBoardLogger(tmp_path, name=name, version=0)
        announce({"invariance/features": 8}, dashboard(["knn"]), [logger], None, hyperparameters=None)
        conclude({"invariance/knn": score}, 7, [logger], hyperparameters=None)
    browser.get(tensorboard(tmp_path) + "/#hparams")

    def cells():
        return {text.strip() for text in browser.execute_script(FIND, "vaadin-grid-cell-content")}

    _until(lambda: {"invariance/knn", "0.53125", "0.90625"} <= cells(), lambda: str(cells()))


@pytest.mark.parametrize("z", [torch.zeros(30, 4), torch.arange(30.0)[:, None]], ids=["all zero", "one column"])
def test_the_page_takes_what_needs_a_way_round(tmp_path, tensorboard, browser, z):
    write_projector(tmp_path / "run", "raw", 0, z, labels=["", *range(29)])
    assert points_on_page(browser, tensorboard(tmp_path / "run")) == (30, max(z.shape[1], 2))
