"""Uploads turned into a prepared corpus and its report, in two passes and bounded memory."""

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from workers.finetuning.corpus.cleaning import clean_document
from workers.finetuning.corpus.documents import Conversation, Document, Example
from workers.finetuning.corpus.duplicates import DuplicateFilter
from workers.finetuning.corpus.errors import CorpusError
from workers.finetuning.corpus.files import CorpusFile
from workers.finetuning.corpus.languages import LanguageTally
from workers.finetuning.corpus.limits import CorpusLimits
from workers.finetuning.corpus.masking import DEFAULT_REGIONS, Masker
from workers.finetuning.corpus.prepared import hash_prepared, split_path, to_line
from workers.finetuning.corpus.reading import read_corpus
from workers.finetuning.corpus.report import CorpusReport, SplitCount, TokenCount, warnings_of
from workers.finetuning.corpus.splitting import Split, SplitShares, deal

# A text of this many characters is enough to learn from, however few passages it has.
_ENOUGH_CHARACTERS = 2000
# A text of that length which has fewer different words than these repeats itself.
_FEW_WORDS = 50
_MAX_SPEAKERS = 1000
_WORD = re.compile(r"\w+")
_PROGRESS_EVERY = 500


TokenCounter = Callable[[Example], TokenCount]


@dataclass(frozen=True, slots=True)
class PreparationOptions:
    """How a corpus is prepared.

    Attributes:
        limits: what an upload may cost.
        shares: what is held back for validation and test.
        mask_personal_data: whether addresses, numbers and secrets are masked.
        phone_regions: countries whose national ways of writing a number are known.
        near_threshold: similarity from which two documents count as one.
        base_languages: codes of the languages that the base knows; empty: unknown.
    """

    limits: CorpusLimits = field(default_factory=CorpusLimits)
    shares: SplitShares = field(default_factory=SplitShares)
    mask_personal_data: bool = True
    phone_regions: tuple[str, ...] = DEFAULT_REGIONS
    near_threshold: float = 0.8
    base_languages: frozenset[str] = frozenset()


def prepare_corpus(
    files: Sequence[CorpusFile],
    folder: Path,
    *,
    options: PreparationOptions | None = None,
    count_tokens: TokenCounter | None = None,
    validation_files: Sequence[CorpusFile] = (),
    on_progress: Callable[[int], None] = lambda _: None,
) -> CorpusReport:
    """Read, clean, mask, deduplicate and split uploads into ``folder``.

    Args:
        files: what was uploaded.
        folder: where the splits go; made where it is missing.
        options: see there.
        count_tokens: the base's tokenizer, see :mod:`workers.finetuning.encoding`.
        validation_files: a validation set of the admin's own; then none is cut off from
            ``files``. What it shares with them is dropped from them.
        on_progress: hears the number of documents read, now and then.

    Raises:
        CorpusError: a file cannot be used, or too little is left. No split is left behind.
    """
    chosen = options or PreparationOptions()
    folder.mkdir(parents=True, exist_ok=True)
    work = _Preparation(chosen, count_tokens, on_progress)
    staged = folder / "documents.part"
    try:
        with staged.open("w", encoding="utf-8") as out:
            given = work.stage(validation_files, out.write)
            work.stage(files, out.write)
        work.check_enough(files[0].name if files else "")
        _distribute(staged, folder, work, given)
    finally:
        staged.unlink(missing_ok=True)
    return work.finish(folder, [file.name for file in (*files, *validation_files)])


class _Preparation:
    """The state of one preparation: filters, and a report that grows."""

    def __init__(
        self,
        options: PreparationOptions,
        count_tokens: TokenCounter | None,
        on_progress: Callable[[int], None],
    ) -> None:
        self.options = options
        self.report = CorpusReport(splits={split: SplitCount() for split in Split})
        self._count_tokens = count_tokens
        self._on_progress = on_progress
        self._masker = Masker(options.phone_regions)
        self._duplicates = DuplicateFilter(options.near_threshold)
        self._languages = LanguageTally()
        self._speakers: set[str] = set()
        self._words: set[str] = set()
        self._monologues = 0
        self._read = 0

    def stage(self, files: Sequence[CorpusFile], write: Callable[[str], object]) -> int:
        """Write each document that is worth keeping as one line; returns how many."""
        kept = 0
        for document in self._worthy(files):
            counts = self._measure(document)
            write(json.dumps([to_line(document), counts, len(document.examples)]) + "\n")
            kept += 1
        return kept

    def check_enough(self, file: str) -> None:
        """Refuse what no model could learn from."""
        report, least = self.report, self.options.limits.min_examples
        is_long_text = report.characters >= _ENOUGH_CHARACTERS and not report.conversations
        is_varied = len(self._words) >= _FEW_WORDS
        if report.examples >= least or (is_long_text and is_varied):
            return
        if self._monologues > report.documents:
            raise CorpusError("one-speaker", file=file)
        dropped = self._duplicates.exact + self._duplicates.near
        is_alike = report.documents == 1 and (dropped >= least or is_long_text)
        reason = "all-alike" if is_alike else "too-small"
        raise CorpusError(reason, file=file, found=report.examples, limit=least)

    def finish(self, folder: Path, names: list[str]) -> CorpusReport:
        """The whole report."""
        report = self.report
        report.files = names
        report.exact_duplicates = self._duplicates.exact
        report.near_duplicates = self._duplicates.near
        report.masked = dict(self._masker.counts)
        report.languages = self._languages.shares()
        report.speakers = len(self._speakers)
        report.sha256 = hash_prepared(folder)
        report.warnings = warnings_of(
            report, self.options.base_languages, monologues=self._monologues
        )
        return report

    def _worthy(self, files: Sequence[CorpusFile]) -> Iterator[Document]:
        for document in read_corpus(files, self.options.limits):
            self._read += 1
            if self._read % _PROGRESS_EVERY == 0:
                self._on_progress(self._read)
            cleaned, empty = clean_document(document)
            self.report.empty += empty
            if cleaned is None:
                self._monologues += _is_monologue(document)
                continue
            masked = (
                self._masker.mask_document(cleaned) if self.options.mask_personal_data else cleaned
            )
            if self._duplicates.is_new(masked):
                yield masked

    def _measure(self, document: Document) -> int:
        """Add the document to the report; returns its tokens."""
        report = self.report
        report.documents += 1
        report.characters += len(document.text)
        report.bytes += len(document.text.encode())
        self._languages.add(document.text)
        if len(self._words) < _FEW_WORDS:
            self._words.update(_WORD.findall(document.text))
        tokens = 0
        for example in document.examples:
            report.examples += 1
            self._measure_turns(example)
            if self._count_tokens is not None:
                count = self._count_tokens(example)
                tokens += count.tokens
                report.trained_tokens += count.trained
                report.over_long += count.over_long
        report.tokens += tokens
        return tokens

    def _measure_turns(self, example: Example) -> None:
        if not isinstance(example, Conversation):
            return
        self.report.conversations += 1
        self.report.turns += len(example.turns)
        if len(self._speakers) < _MAX_SPEAKERS:
            self._speakers.update(turn.name for turn in example.turns if turn.name)


def _is_monologue(document: Document) -> bool:
    """Whether somebody speaks and nobody asks or answers."""
    roles = {
        turn.role
        for example in document.examples
        if isinstance(example, Conversation)
        for turn in example.turns
        if turn.text.strip()
    }
    return roles == {"assistant"}


def _distribute(staged: Path, folder: Path, work: _Preparation, given: int) -> None:
    """Deal the staged lines into the splits; the first ``given`` are the validation set."""
    shares = work.options.shares
    if given:
        shares = SplitShares(0.0, shares.test, shares.max_held_back, shares.seed)
    splits = [Split.VALIDATION] * given + deal(work.report.documents - given, shares)
    with ExitStack() as stack:
        parts = {split: folder / f"{split}.jsonl.part" for split in Split}
        outputs = {
            split: stack.enter_context(part.open("w", encoding="utf-8"))
            for split, part in parts.items()
        }
        lines = stack.enter_context(staged.open(encoding="utf-8"))
        for split, line in zip(splits, lines, strict=True):
            text, tokens, examples = json.loads(line)
            outputs[split].write(text)
            counts = work.report.splits[split]
            counts.documents += 1
            counts.examples += examples
            counts.tokens += tokens
        for output in outputs.values():
            output.flush()
            os.fsync(output.fileno())
    for split, part in parts.items():
        part.replace(split_path(folder, split))
