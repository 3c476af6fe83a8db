"""Conversations rendered by the base's own chat template, prompt and answers kept apart."""

from collections.abc import Iterator, Sequence
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from workers.finetuning.corpus.documents import Turn

Message = dict[str, str]


def render_segments(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn]
) -> Iterator[tuple[str, bool]]:
    """The conversation's text in pieces, each with whether it is learnt.

    Every prompt ends where generation would begin and every answer starts there, so a model is
    trained on exactly the split between given and made that it meets when it answers. Where a
    template rewrites what went before (as those do that drop earlier thoughts), the pieces of
    the earlier turns are kept as they were rendered first.
    """
    messages = [_message(turn) for turn in turns]
    done, answered = "", 0
    for index, turn in enumerate(turns):
        if turn.role != "assistant":
            continue
        prompt = _render(tokenizer, messages[:index], prompt=True)
        whole = _render(tokenizer, messages[: index + 1], prompt=False)
        if not whole.startswith(prompt):
            # Templates that always add something before an answer (an empty thought, say).
            prompt = _common_start(prompt, whole)
        if prompt.startswith(done):
            yield prompt[len(done) :], False
        else:
            newest = _render(tokenizer, messages[answered:index], prompt=True)
            yield _common_start(prompt[::-1], newest[::-1])[::-1], False
        yield whole[len(prompt) :], turn.trains
        done, answered = whole, index + 1


def render_prompt(tokenizer: PreTrainedTokenizerBase, question: str, persona: str = "") -> str:
    """A single question up to where the answer begins."""
    system = [Turn("system", persona)] if persona else []
    messages = [_message(turn) for turn in (*system, Turn("user", question))]
    return _render(tokenizer, messages, prompt=True)


def _message(turn: Turn) -> Message:
    message: Message = {"role": turn.role, "content": turn.text}
    if turn.name:
        message["name"] = turn.name
    return message


def _render(tokenizer: PreTrainedTokenizerBase, messages: list[Message], *, prompt: bool) -> str:
    try:
        return _apply(tokenizer, messages, prompt=prompt)
    except TemplateError:
        # Some families know no system role; its words then open the first question.
        return _apply(tokenizer, _fold_system(messages), prompt=prompt)


def _apply(tokenizer: PreTrainedTokenizerBase, messages: list[Message], *, prompt: bool) -> str:
    rendered: Any = tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=prompt
    )
    return str(rendered)


def _fold_system(messages: list[Message]) -> list[Message]:
    if len(messages) < 2 or messages[0]["role"] != "system":
        return messages
    system, first, *rest = messages
    return [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest]


def _common_start(one: str, other: str) -> str:
    size = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        size += 1
    return one[:size]
