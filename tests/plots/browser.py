"""A headless Chromium to open pages in, where there is one."""

import shutil
from contextlib import contextmanager

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
# A busy machine draws without a graphics card.
PATIENCE = 120_000


def launched():
    """A browser's context manager, or a skipped test."""
    sync = pytest.importorskip(
        "playwright.sync_api", reason="no playwright: pip install playwright"
    )
    place = next((found for name in NAMES if (found := shutil.which(name))), None)
    if place is None:
        pytest.skip("no chromium: apt-get install chromium")

    @contextmanager
    def opened():
        with sync.sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=place, args=["--no-sandbox"])
            yield browser
            browser.close()

    return opened()


class Visit:
    """A page in the browser, and everything that it did wrong."""

    def __init__(self, browser, place, script=True, **options):
        self.complaints, self.requests = [], []
        size = {"width": 1280, "height": 900}
        self.context = browser.new_context(
            **{"viewport": size, "java_script_enabled": script, **options}
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.page.on("console", self._listen)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", self._dismiss)
        self.context.route("**/*", self._watch)
        self.page.goto(place.as_uri())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def _listen(self, message):
        # The drivers' remarks on speed are none of ours.
        if message.type == "error" or "plotly" in message.text or "still image" in message.text:
            self.complaints.append(message.text)

    def _dismiss(self, dialog):
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _watch(self, route):
        address = route.request.url
        self.requests.append(address)
        if address.startswith(("file:", "data:")):
            route.continue_()
        else:
            route.abort()

    def drawn(self, name):
        """The figure's plot, once plotly.js has drawn it."""
        figure = self.page.locator(f"figure[data-name={name}]")
        figure.scroll_into_view_if_needed()
        figure.locator(".plot .main-svg").first.wait_for()
        self.page.locator(f"figure[data-name={name}][data-drawn=yes]").wait_for()
        return figure.locator(".plot")
