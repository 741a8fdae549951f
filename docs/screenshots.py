"""Take the screenshots of docs/dashboard.md from TensorBoard's pages of a demo run.

Run: python docs/screenshots.py [folder of the demo] (needs Chromium, its driver and selenium)
"""

import shutil
import sys
import time
from pathlib import Path

from selenium import webdriver
from tensorboard.program import TensorBoard

IMAGES = Path(__file__).parent / "images"
FLAGS = (
    "--headless=new --no-sandbox --disable-dev-shm-usage --use-gl=angle --use-angle=swiftshader "
    "--enable-unsafe-swiftshader --disable-background-networking --force-device-scale-factor=1"
)
CLICK = """
const walk = root => {
  for (const node of root.querySelectorAll('*')) {
    if (node.matches(arguments[0])) { node.click(); return true; }
    if (node.shadowRoot && walk(node.shadowRoot)) return true;
    if (node.tagName === 'IFRAME' && node.contentDocument && walk(node.contentDocument)) return true;
  }
  return false;
};
return walk(document);
"""
PAGES = {
    "custom_scalars": ("#custom_scalars", "", 1400, 900),
    "images": ("#images", "", 1400, 640),
    "projector": ("data/plugin_entry.html?name=projector", ".state-radio paper-icon-button", 1400, 800),
}
"""Name to address, what is clicked there, width and height."""


def main(folder: str = "runs/demo") -> None:
    """Write one PNG for each page."""
    board = TensorBoard()
    board.configure(argv=["tensorboard", "--logdir", folder, "--load_fast", "false", "--port", "0"])
    address = board.launch()
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in FLAGS.split():
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        for name, (page, clicked, width, height) in PAGES.items():
            browser.set_window_size(width, height)
            browser.get("about:blank")
            browser.get(address + page)
            time.sleep(12)
            if clicked:
                browser.execute_script(CLICK, clicked)
                time.sleep(5)
            browser.save_screenshot(str(IMAGES / f"{name}.png"))
    finally:
        browser.quit()


if __name__ == "__main__":
    main(*sys.argv[1:])
