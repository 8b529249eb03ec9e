"""Tests in a real browser; skipped, with the reason, where there is none."""

import pytest
from browsing import chromium, find_chromium


@pytest.fixture(scope="module")
def browser():
    """One for each module of this folder, and for no other: while it is open, playwright keeps an asyncio loop
    running in this thread.  A second one in a module elsewhere could not start ("Sync API inside the asyncio
    loop", CI of 21 November), in whichever run a worker got both.
    """
    pytest.importorskip("playwright", reason="playwright is not installed")
    if not find_chromium():
        pytest.skip("no chromium found (install it, or name one in CHROMIUM)")
    with chromium() as found:
        yield found


@pytest.fixture
def open_page(browser):
    """A function that opens a page (width, colour scheme, ...); with `strict` a script error on it fails the test."""
    contexts, errors = [], []

    def open_one(width=1280, height=900, strict=False, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(60_000)
        contexts.append(context)
        page = context.new_page()
        if strict:
            page.on("pageerror", lambda error: errors.append(str(error)))
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert not errors
