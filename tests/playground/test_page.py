"""The page in a real browser, before a playground alone."""

import pytest

from playground import cast
from tests.e2e.conftest import CHROMIUM, FLAGS
from tests.playground.test_server import server  # noqa: F401 - a fixture

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed and cannot be here"),
]
AT_END = "e => e.scrollHeight - e.scrollTop - e.clientHeight < 2"


@pytest.fixture
async def page(server):  # noqa: F811 - the fixture above
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await browser.new_page(viewport={"width": 1280, "height": 800})
        await page.goto(server.base + "/")
        await page.wait_for_selector("#channels button")
        yield page
        await browser.close()


async def test_a_narrower_page_stays_at_its_end_and_leaves_who_reads_above_in_peace(page, server):  # noqa: F811
    for _ in range(30):
        server.world.say(cast.ALICE, cast.GENERAL, "the quick brown parrot " * 12)
    last = server.world.say(cast.ALICE, cast.GENERAL, "the last word")
    await page.wait_for_selector(f"#m{last['id']}")
    messages = page.locator("#messages")
    assert await messages.evaluate(AT_END)
    await page.set_viewport_size({"width": 390, "height": 844})
    await page.wait_for_timeout(300)
    assert await messages.evaluate(AT_END)
    await messages.evaluate("e => { e.scrollTop = 40 }")
    await page.wait_for_timeout(100)
    await page.set_viewport_size({"width": 800, "height": 600})
    await page.wait_for_timeout(300)
    assert not await messages.evaluate(AT_END)


async def test_code_in_the_title_of_an_embed_is_drawn_as_code(page, server):  # noqa: F811
    embeds = [{"title": "answer `06h1` <b>"}]
    server.world.post(cast.GENERAL, cast.BOT_ID, "", embeds=embeds)
    title = page.locator(".embed h4")
    await title.wait_for()
    assert await title.inner_text() == "answer 06h1 <b>"
    assert await title.locator("code").inner_text() == "06h1"
