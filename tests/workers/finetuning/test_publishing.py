"""What is published is an ordinary folder: plain libraries load it without a file of ours."""

import json
import subprocess
import sys

import pytest
import torch

from workers.finetuning.bases import load_trainee
from workers.finetuning.checkpoints import load_weights, valid_checkpoints

LOADER = """
import json, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from peft import PeftModel
adapter, base, whole, ids = sys.argv[1:]
ids = torch.tensor([json.loads(ids)])
out = {}
for name, model in (
    ("lora", PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)),
    ("full", AutoModelForCausalLM.from_pretrained(whole)),
):
    with torch.no_grad():
        out[name] = model.eval()(input_ids=ids).logits[0, -1].tolist()
tokenizer = AutoTokenizer.from_pretrained(adapter)
out["chat"] = tokenizer.apply_chat_template(
    [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
)
assert not any(name.split(".")[0] in ("workers", "core") for name in sys.modules)
print(json.dumps(out))
"""
IDS = [5, 9, 12, 40]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_plain_transformers_and_peft_load_what_was_published(
    tiny_gpt2_folder, make_spec, run, tmp_path
):
    expected = {}
    for method in ("lora", "full"):
        spec = make_spec(tiny_gpt2_folder, method=method)
        run(spec, folder=method)
        trainee = load_trainee(spec)
        load_weights(valid_checkpoints(tmp_path / method)[-1], trainee.model)
        with torch.no_grad():
            logits = trainee.model.eval()(input_ids=torch.tensor([IDS])).logits
        expected[method] = logits[0, -1].tolist()
    published = [str(tmp_path / method / "published") for method in ("lora", "full")]
    # -I leaves the working folder and PYTHONPATH out, so nothing of ours can be imported.
    done = subprocess.run(
        [sys.executable, "-I", "-c", LOADER, published[0], str(tiny_gpt2_folder), published[1],
         json.dumps(IDS)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.strip().splitlines()[-1])
    for method in ("lora", "full"):
        assert found[method] == pytest.approx(expected[method], rel=1e-4, abs=1e-4)
    assert found["chat"] == "User: Hi\nPerroquet:"


def test_the_card_names_base_corpus_and_figures(tiny_llama_folder, make_spec, run, tmp_path):
    spec = make_spec(tiny_llama_folder, base_name="them/Parrot-135M", run_name="Coco")
    metrics = run(spec).of("finished")[0]["metrics"]
    folder = tmp_path / "run" / "published"
    card = (folder / "README.md").read_text()
    assert 'base_model: "them/Parrot-135M"' in card
    assert metrics["corpus_sha256"] in card
    assert f"{metrics['base']['test']['perplexity']:.2f}" in card
    adapter = json.loads((folder / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == "them/Parrot-135M"
    assert json.loads((folder / "metrics.json").read_text()) == metrics
