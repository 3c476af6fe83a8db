"""A server on loopback that speaks OpenAI's chat protocol as vLLM does, and can misbehave."""

import asyncio
import json
import threading

from aiohttp import web

KEY = "sk-sesame"
HALF = "\ufffd"
WORDS = ["Seeds ", "and ", "perhaps ", "a ", "nut 🥜."]


class Counterpart:
    """Runs in a thread of its own; remembers what it was asked and whose connections closed."""

    def __init__(self) -> None:
        self.asked: list[dict] = []
        self.left = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._runner = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._complete)
        app.router.add_post("/v1/completions", self._complete)
        app.router.add_get("/v1/models", self._list)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    async def _list(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return _error(401, "Unauthorized")
        return web.json_response({"object": "list", "data": [{"id": "parrot", "object": "model"}]})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return _error(401, "Unauthorized")
        body = await request.json()
        self.asked.append(body)
        model = body["model"]
        if model == "narrow" and len(body.get("messages", ())) > 2:
            return _error(400, "This model's maximum context length is 8 tokens.")
        if model in {"broken", "strict"}:
            return _error(*{"broken": (500, "Oops"), "strict": (400, "No.")}[model])
        if model not in {"parrot", "narrow", "slow", "cut", "aborting", "models/parrot/adapter-1"}:
            return _error(404, f"The model `{model}` does not exist.")
        return await self._stream(request, model, body)

    async def _stream(self, request, model: str, body: dict) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        words = WORDS[: body["max_tokens"]]
        finish = "length" if len(words) < len(WORDS) else "stop"
        try:
            for word in words:
                if word == WORDS[-1] and "logprobs" in body:
                    # The nut is made of several tokens, the first of which is no character.
                    half = _event(model, {"content": ""}, None, _logprobs(body, HALF))
                    await response.write(half)
                await response.write(_event(model, {"content": word}, None, _logprobs(body, word)))
                if model == "slow":
                    await asyncio.sleep(30)
            if model == "cut":
                return response
            finish = "abort" if model == "aborting" else finish
            await response.write(_event(model, {}, finish) + b"data: [DONE]\n\n")
        except asyncio.CancelledError:
            self.left.set()
            raise
        return response


def _logprobs(body: dict, word: str) -> dict | None:
    """What each of the two protocols says of a token."""
    asked = body.get("logprobs")
    if asked is None:
        return None
    if "prompt" in body:
        # As vLLM does: the chosen token first, and beside as many others as were asked for.
        others = [{word: -0.5, "Nuts ": -0.4, "Figs ": -2.0}] if asked else None
        return {"tokens": [word], "token_logprobs": [-0.5], "top_logprobs": others}
    token = {"token": word, "logprob": -0.5, "bytes": None}
    others = [token, {**token, "token": "Nuts ", "logprob": -0.4}][: body["top_logprobs"]]
    return {"content": [{**token, "top_logprobs": others}]}


def _event(model: str, delta: dict, finish: str | None, logprobs: dict | None = None) -> bytes:
    # Chat reads the delta and completion the text.
    choice = {"index": 0, "delta": delta, "text": delta.get("content", "")}
    choice |= {"finish_reason": finish, "logprobs": logprobs}
    event = {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": model,
        "choices": [choice],
    }
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "code": status}}, status=status)
