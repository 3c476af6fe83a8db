"""Samples on a device with little memory."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from workers.finetuning.samples import Prompt, generate_samples

PROMPTS = [Prompt(text, is_chat=False) for text in ("The parrot", "Le perroquet", "Hello")]


@pytest.fixture
def sample(tiny_llama_folder):
    """Samples of a model whose device answers so many prompts at a time."""
    model = AutoModelForCausalLM.from_pretrained(tiny_llama_folder)
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama_folder)
    generate = model.generate

    def answers(fits: int) -> list[str]:
        def hungry(**batch):
            if len(batch["input_ids"]) > fits:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return generate(**batch)

        model.generate = hungry
        model.train()
        texts = generate_samples(
            model, tokenizer, PROMPTS, max_new_tokens=4, seed=1, device=torch.device("cpu")
        )
        assert model.training
        return texts

    return answers


def test_where_memory_runs_out_fewer_prompts_are_answered_at_a_time(sample):
    texts = sample(fits=1)
    assert len(texts) == len(PROMPTS)
    assert any(texts)


def test_a_prompt_that_does_not_fit_has_no_answer_and_ends_no_run(sample):
    assert sample(fits=0) == ["", "", ""]
