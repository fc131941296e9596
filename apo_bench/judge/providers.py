"""Who answers the judge's questions: gold, a model behind a server, one that is served here for the purpose, or a ledger alone."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock
from tqdm import tqdm

from apo_bench.chat.client import ask_all, counted
from apo_bench.chat.ledger import Ledger, LedgerRow, open_ledger, read_ledger
from apo_bench.config.judge_sections import GoldJudge, Judge, ServerJudge, VllmJudge
from apo_bench.core.errors import ServerError
from apo_bench.core.files import write_jsonl
from apo_bench.judge.gold import gold_row
from apo_bench.judge.questions import FORM, Question
from apo_bench.judge.vllm_server import vllm_server

Answers = dict[str, LedgerRow]
Answerer = Callable[[Sequence[Question]], Answers]
"""Questions -> the ledger's rows by key, one for each question."""
WHERE = "judge.provider"


@contextmanager
def open_provider(judge: Judge, ledgers: Path, name: str, replay: bool) -> Iterator[Answerer]:
    """Gives the answers of the judge, and leaves those it gave in the ledger LEDGERS/NAME.jsonl, sorted by key.

    Args:
        judge: the section of params.yaml.
        ledgers: folder of all ledgers of the provider, which share its budget.
        name: path of this one below it, without suffix.
        replay: whether only the ledger may answer.

    Raises:
        ServerError: the server cannot be asked (see `ask_all`), or, in a replay, the ledger lacks an answer.
        DataError: a ledger is broken.
        OutputError: the ledger cannot be written.
    """
    file = ledgers / f"{name}.jsonl"
    if replay:
        rows = {row["key"]: row for row in read_ledger(file)}
        yield lambda questions: _known(questions, rows, file)
    elif isinstance(judge.provider, GoldJudge):
        given: Answers = {}
        yield lambda questions: _from_gold(questions, judge.provider, judge.seed, given)  # type: ignore[arg-type]
        _write(file, given.values())
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            stack.enter_context(FileLock(ledgers / ".lock"))  # one stage asks at a time: they share the budget
            server = _Server(judge.provider, file, ledgers, stack)
            yield server.answers
            server.close()


class _Server:
    """Answers by a server, which is started or connected to only if the ledger lacks an answer."""

    def __init__(self, settings: ServerJudge | VllmJudge, file: Path, ledgers: Path, stack: ExitStack) -> None:
        self._own = settings if isinstance(settings, VllmJudge) else None
        self._settings = settings.at("") if isinstance(settings, VllmJudge) else settings
        self._file, self._stack = file, stack
        self._ledger, notice = open_ledger(file, self._settings, _any_will_do, sorted(ledgers.rglob("*.jsonl")))
        if notice:
            tqdm.write(notice, file=sys.stderr)

    def answers(self, questions: Sequence[Question]) -> Answers:
        prompts = [question.prompt for question in questions]
        ledger: Ledger = self._ledger
        if self._own and any(prompt.key not in ledger.rows for prompt in prompts):
            self._settings = self._own.at(self._stack.enter_context(vllm_server(self._own)))
            ledger.settings, self._own = self._settings, None
        ask_all(self._settings, prompts, ledger, WHERE, FORM if self._settings.json_schema else None)
        return {prompt.key: ledger.rows[prompt.key] for prompt in prompts}

    def close(self) -> None:
        """Sorts the ledger, so that the same answers are the same bytes in whatever order they came."""
        _write(self._file, self._ledger.rows.values())


def _any_will_do(row: LedgerRow) -> str:
    """Every answer is the judge's; one without a readable verdict counts as such."""
    return ""


def _known(questions: Sequence[Question], rows: Answers, file: Path) -> Answers:
    missing = [question.id for question in questions if question.prompt.key not in rows]
    if missing:
        raise ServerError(
            f"{file}: a replay asks nobody, and {len(missing)} of {len(questions)} questions have no answer, about {counted(missing)}; "
            "get the ledger that belongs to these responses, templates and params (dvc pull), or run without --replay"
        )
    return {question.prompt.key: rows[question.prompt.key] for question in questions}


def _from_gold(questions: Sequence[Question], settings: GoldJudge, seed: int, given: Answers) -> Answers:
    found = {question.prompt.key: gold_row(question, settings, seed) for question in questions}
    given |= found
    return found


def _write(file: Path, rows: Iterable[LedgerRow]) -> None:
    write_jsonl(file, sorted(rows, key=lambda row: row["key"]))
