"""``python -m workers.validation.child FOLDER``: prepares one corpus, in a process of its own.

What is uploaded is nobody's friend: here it can take no other work down with it, its memory goes
when it is done, and it can be ended at any moment. The folder holds ``request.json``; what came
out of it is put into ``result.json``, whole or not at all.
"""

import json
import math
import os
import signal
import sys
import threading
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from core.errors import PerroquetError

REQUEST = "request.json"
RESULT = "result.json"
CORPUS = "corpus"
# As safetensors itself has it.
_MOST_HEADER_BYTES = 100_000_000
_FEW_ROWS = 200


def main(folder: Path) -> None:
    """Carry the request of a folder out."""
    # A terminal and a service manager signal the whole group. Whether to go on is the parent's to
    # say, which gives the job back when it drains; a child that died of the signal would fail it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(sys.stdin,), daemon=True).start()
    request = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
    try:
        result = prepare(folder, request)
    except PerroquetError as exc:
        result = {"error": {"code": exc.code, "message": str(exc), "data": exc.data}}
    except Exception as exc:  # noqa: BLE001 (the seam: whatever broke is told to the parent)
        traceback.print_exc()
        message = f"{type(exc).__name__} while the corpus was read."
        result = {"error": {"code": "internal", "message": message, "data": {}}}
    part = folder / f"{RESULT}.part"
    part.write_text(json.dumps(result, ensure_ascii=False), encoding="utf-8")
    part.replace(folder / RESULT)


def prepare(folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Prepare the corpus below ``folder`` and plan its run.

    Args:
        folder: gets the prepared corpus.
        request: ``files`` (each with ``path``, ``name`` and ``is_validation``), ``base`` (a
            folder), ``options`` (of the run, as :class:`workers.finetuning.spec.RunSpec` has them),
            ``search`` (as :class:`core.corpora.searches.SearchSpec` has it) or None, and
            ``validation_share``, None for the usual one.

    Returns:
        ``report``, and ``plan`` with ``steps``, ``epochs``, the highest ``learning_rate``,
        ``tokens`` of one pass, ``judging_between_steps`` and ``judging_before_and_after`` as
        :class:`workers.finetuning.plan.Judging` has them, ``block_size`` and the ``parameters`` of
        the base.

    Raises:
        CorpusError: a file cannot be used.
        SpecError, SearchError: an option is out of range, or cannot be searched.
        NothingToJudgeByError: a search, and no document to judge its trials by.
        ModelUnreadableError: the base cannot be read.
    """
    # Transformers takes seconds to import; a broken request need not wait for it.
    from transformers import AutoConfig

    from workers.finetuning.base_card import languages_of
    from workers.finetuning.base_tokenizer import UNREADABLE, load_tokenizer, unreadable
    from workers.finetuning.corpus.files import CorpusFile
    from workers.finetuning.corpus.preparing import PreparationOptions, prepare_corpus
    from workers.finetuning.corpus.splitting import SplitShares
    from workers.finetuning.data import count_rows
    from workers.finetuning.encoding import ExampleEncoder
    from workers.finetuning.plan import (
        choose_block_size,
        choose_learning_rate,
        count_judging,
        make_plan,
    )
    from workers.finetuning.spec import RunSpec

    base, corpus = Path(request["base"]), folder / CORPUS
    spec = RunSpec.from_json({**request["options"], "base_model": str(base), "corpus": str(corpus)})
    if request.get("search"):
        from core.corpora.searches import SearchSpec
        from workers.finetuning.search_space import check_search

        check_search(spec, SearchSpec.from_json(request["search"]))
    tokenizer = load_tokenizer(base)
    try:
        config = AutoConfig.from_pretrained(base, trust_remote_code=False, local_files_only=True)
    except UNREADABLE as exc:
        raise unreadable(base, exc) from exc
    block_size = choose_block_size(spec, int(getattr(config, "max_position_embeddings", 1024)))
    encoder = ExampleEncoder(tokenizer, block_size, spec.persona)
    files: dict[bool, list[CorpusFile]] = {False: [], True: []}
    for file in request["files"]:
        files[file["is_validation"]].append(CorpusFile(Path(file["path"]), file["name"]))
    share = request["validation_share"]
    shares = SplitShares(seed=spec.seed)
    report = prepare_corpus(
        files[False],
        corpus,
        options=PreparationOptions(
            shares=shares if share is None else replace(shares, validation=share),
            base_languages=languages_of(base),
        ),
        count_tokens=encoder.count,
        validation_files=files[True],
    )
    if request.get("search") and not report.splits["validation"].documents:
        from core.corpora.searches import NothingToJudgeByError

        raise NothingToJudgeByError
    tokens = report.splits["train"].tokens
    rows = max(1, math.ceil(tokens / block_size))
    if rows <= _FEW_ROWS:
        # Few rows have holes; those of many hardly count, and need no encoding anew.
        rows = max(1, count_rows(corpus, encoder, block_size))
    plan = make_plan(spec, rows, "cpu")
    judging = count_judging(
        spec,
        plan,
        block_size=block_size,
        validation_tokens=report.splits["validation"].tokens,
        test_tokens=report.splits["test"].tokens,
    )
    return {
        "report": report.to_json(),
        "plan": {
            "steps": plan.steps,
            "epochs": plan.epochs,
            "learning_rate": choose_learning_rate(
                spec, int(getattr(config, "hidden_size", 0)) or 1
            ),
            "tokens": tokens,
            "judging_between_steps": judging.between_steps,
            "judging_before_and_after": judging.before_and_after,
            "block_size": block_size,
            "parameters": _count_parameters(base),
        },
    }


def _count_parameters(base: Path) -> int:
    """By the headers of its weights: a length of eight bytes, then JSON with each tensor's shape.
    A base that has none is left to the trainer to complain of."""
    from workers.finetuning.base_tokenizer import unreadable

    count = 0
    for path in base.glob("*.safetensors"):
        try:
            with path.open("rb") as stream:
                size = min(int.from_bytes(stream.read(8), "little"), _MOST_HEADER_BYTES)
                header = json.loads(stream.read(size))
            shapes = [tensor["shape"] for name, tensor in header.items() if name != "__metadata__"]
            count += sum(math.prod(shape) for shape in shapes)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
            raise unreadable(base, exc) from exc
    return count


def _end_with_parent(stream: TextIO) -> None:
    """The parent holds the other end; when it is gone, so is the reason for this process."""
    stream.read()
    os._exit(1)


if __name__ == "__main__":
    # Nothing here needs torch, which transformers imports where it finds it: two thirds of the
    # time and most of the memory of this process. None in this place means “cannot be imported”.
    sys.modules["torch"] = None  # type: ignore[assignment]
    # It would warn of exactly that.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    main(Path(sys.argv[1]).resolve())
    # The listener sits in a read that an orderly shutdown would wait for.
    os._exit(0)
