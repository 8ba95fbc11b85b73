"""What tests in a real browser share: where Chromium is, the built page, and a plain server of files."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from limner.errors import InputError
from limner.sharing.page import built_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def chromium(bundled: str) -> str:
    """The browser's path: ``LIMNER_CHROMIUM``, or the first known name in ``PATH``, or playwright's own."""
    named = os.environ.get("LIMNER_CHROMIUM")
    found = named or next((path for name in NAMES if (path := shutil.which(name))), bundled)
    if not Path(found).is_file():
        pytest.fail(
            f"no Chromium at {named}; LIMNER_CHROMIUM must name one"
            if named
            else "no Chromium: 'apt-get install chromium' (Debian), 'playwright install chromium', or set LIMNER_CHROMIUM",
            pytrace=False,
        )
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium. For a module alone: while it is there, its thread's event loop cannot be used otherwise."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = chromium(playwright.chromium.executable_path)
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


def page_or_fail() -> Path:
    """The built page; without it the test fails with one line."""
    try:
        return built_page()
    except InputError as error:
        pytest.fail(str(error), pytrace=False)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        return


@contextmanager
def file_server(folder: Path) -> Iterator[str]:
    """What ``python -m http.server`` does, in this process: its address, without a slash at the end."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
