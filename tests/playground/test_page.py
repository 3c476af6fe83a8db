"""The page in a real browser, before a playground alone."""

import io

import pytest
from PIL import Image

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


def png(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), "#1f2430").save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("has_size", [True, False])
async def test_the_end_stays_in_sight_when_a_board_gets_another_picture(page, server, has_size):  # noqa: F811
    world = server.world
    for _ in range(30):
        world.say(cast.ALICE, cast.GENERAL, "the quick brown parrot " * 12)
    posted = world.post(cast.GENERAL, cast.BOT_ID, "", embeds=[{"title": "board"}])
    for number in range(3):
        path = f"/attachments/{cast.GENERAL}/{number}/curve.png"
        world.files[path] = (png(800, 450), "image/png")
        url = server.base + path
        size = {"width": 800, "height": 450} if has_size else {}
        file = {"id": str(number), "filename": "curve.png", "url": url, "size": 9,
                "content_type": "image/png", **size}  # fmt: skip
        board = {"title": "board", "image": {"url": url}}
        world.edit(posted, {"embeds": [board], "attachments": [file]})
        said = world.say(cast.ALICE, cast.GENERAL, f"word {number}")
        await page.wait_for_selector(f"#m{said['id']}")
        await page.wait_for_function(
            "url => { const i = document.querySelector('.embed img');"
            " return i?.src === url && i.complete && i.clientHeight > 200 }",
            arg=url,
        )
        await page.wait_for_function(f"() => ({AT_END})(document.getElementById('messages'))")


async def test_a_command_goes_to_the_end_as_a_message_does(page, server):  # noqa: F811
    command = {"id": "7", "name": "status", "description": "how it is", "type": 1, "options": []}
    server.world.commands = [command]
    await page.reload()
    for _ in range(30):
        server.world.say(cast.ALICE, cast.GENERAL, "the quick brown parrot " * 12)
    last = server.world.say(cast.ALICE, cast.GENERAL, "the last word")
    await page.wait_for_selector(f"#m{last['id']}")
    messages = page.locator("#messages")
    await messages.evaluate("e => { e.scrollTop = 40 }")
    await page.wait_for_timeout(100)
    await page.fill("#text", "/status")
    await page.press("#text", "Enter")
    await page.wait_for_function(f"() => ({AT_END})(document.getElementById('messages'))")


async def test_the_headline_of_the_drawer_has_a_line_for_each_word(page):
    await page.select_option("#language", "fr")
    name = page.locator(".brand small")
    assert await name.inner_text() == "TERRAIN DE JEU"
    assert await name.evaluate("e => e.getClientRects().length") == 1
    assert await name.evaluate("e => e.clientHeight < 20")
    assert await page.locator(".brand").evaluate("e => e.scrollWidth <= e.clientWidth")


async def test_code_in_the_title_of_an_embed_is_drawn_as_code(page, server):  # noqa: F811
    embeds = [{"title": "answer `06h1` <b>"}]
    server.world.post(cast.GENERAL, cast.BOT_ID, "", embeds=embeds)
    title = page.locator(".embed h4")
    await title.wait_for()
    assert await title.inner_text() == "answer 06h1 <b>"
    assert await title.locator("code").inner_text() == "06h1"
