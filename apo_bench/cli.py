"""The command line, `apo-bench`. What a command does is one call of a library function, imported when it runs: --help stays fast."""

from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from apo_bench.core.errors import ApoBenchError

if TYPE_CHECKING:
    from apo_bench.conformance import Finding

FILE = click.Path(path_type=Path)
SUBSET = click.option("--subset", help="The subset of items without one; needed if there are any.")


class _Failure(click.ClickException):
    """An error of ours in one line, with exit status 1."""

    def __init__(self, command: str, error: ApoBenchError) -> None:
        super().__init__(f"{command}: {error}")

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.message, file=file, err=True)


class _Command(click.Command):
    """A command that shows an ApoBenchError as `apo-bench NAME: message`."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ApoBenchError as error:
            raise _Failure(ctx.command_path, error) from error


class _Group(click.Group):
    command_class = _Command
    group_class = type


@click.group(name="apo-bench", cls=_Group)
def main() -> None:
    """Compares preference-alignment methods, with fixed and with adversarially retrained reward models."""


@main.command("fetch")
@click.option("--data", type=FILE, help="A folder in the layout of the profile's source, linked in the place of a download.")
def fetch(data: Path | None) -> None:
    """Gets the data and the model that the profile in the current folder starts from, where they are not there yet."""
    from apo_bench.config.params import PARAMS, load_params
    from apo_bench.fetch import fetch_inputs

    for line in fetch_inputs(load_params(PARAMS), data):
        click.echo(line)


@main.command("plan")
@click.pass_context
def plan(context: click.Context) -> None:
    """Says what the profile in the current folder will take, and what would spoil it; exit status 1 if a check fails."""
    from rich.console import Console

    from apo_bench.config.params import PARAMS, load_params
    from apo_bench.plan.report import check_table, make_plan, stage_table, summary

    found = make_plan(load_params(PARAMS))
    console = Console(highlight=False)
    console.print(stage_table(found), check_table(found))
    click.echo(f"plan: {summary(found)}")
    context.exit(0 if found.passed else 1)


@main.command("new-method")
@click.argument("name")
def new_method(name: str) -> None:
    """Writes the files of a method NAME, a copy of the simplest to begin with, and its section of params.yaml in the current folder.

    A dotted NAME is a module of an installed package: then writes what brings its method in.
    """
    from apo_bench import scaffold
    from apo_bench.config.params import PARAMS

    for line in scaffold.new_method(name, PARAMS):
        click.echo(line)


@main.command("check-method")
@click.argument("name")
@click.pass_context
def check_method(context: click.Context, name: str) -> None:
    """Tries what must hold of any method on NAME, as params.yaml in the current folder sets it; exit status 1 if a check fails.

    If that has no section for NAME, the first profile with one counts. A dotted NAME is a module of an installed package.
    """
    from apo_bench.config.params import PARAMS
    from apo_bench.conformance import examine
    from apo_bench.conformance.lookup import find_method

    _show_findings(context, name, examine(find_method(name, PARAMS)))


@main.command("new-reward-model")
@click.argument("name")
def new_reward_model(name: str) -> None:
    """Writes the files of a reward model NAME, RM_base to begin with, and its section of params.yaml in the current folder."""
    from apo_bench import scaffold
    from apo_bench.config.params import PARAMS

    for line in scaffold.new_reward_model(name, PARAMS):
        click.echo(line)


@main.command("check-reward-model")
@click.argument("name")
@click.pass_context
def check_reward_model(context: click.Context, name: str) -> None:
    """Tries what must hold of any reward model on the section NAME of params.yaml in the current folder; exit status 1 if a check fails.

    If that has no section for NAME, the first profile with one counts.
    """
    from apo_bench.config.params import PARAMS
    from apo_bench.conformance.lookup import find_reward_model
    from apo_bench.conformance.reward_models import examine

    _show_findings(context, name, examine(find_reward_model(name, PARAMS)))


def _show_findings(context: click.Context, name: str, findings: "list[Finding]") -> None:
    """A line a check, and how many failed, which is the exit status."""
    for finding in findings:
        click.echo(f"{finding.check:<16}{f'FAILS  {finding.fault}' if finding.fault else 'ok'}")
    num_faults = sum(finding.fault is not None for finding in findings)
    click.echo(f"{context.info_name}: {name} {f'fails {num_faults} of' if num_faults else 'passes'} {len(findings)} checks")
    context.exit(1 if num_faults else 0)


@main.command("diff")
@click.argument("first")
@click.argument("second")
@click.pass_context
def diff(context: click.Context, first: str, second: str) -> None:
    """Lists every input in which two arms of the run in the current folder differ; exit status 1 if that forbids to rank them.

    An arm is named as in the table's files: METHOD-REWARD_MODEL-sSEED.
    """
    from rich.console import Console

    from apo_bench.config.params import PARAMS, load_params
    from apo_bench.provenance.comparability import diff_arms, diff_table

    differences = diff_arms(load_params(PARAMS), first, second)
    Console(highlight=False).print(diff_table(first, second, differences))
    faults = sum(difference.belongs_to is None for difference in differences)
    verdict = f"{faults} forbid to rank them" if faults else "none forbids to rank them"
    click.echo(f"diff: {len(differences)} inputs differ, {verdict}")
    context.exit(1 if faults else 0)


@main.command("export-paper")
@click.option("--report", type=FILE, required=True, help="The report of a finished run, with params.yaml, dvc.lock and out/ beside it.")
@click.option("--output", type=FILE, required=True, help="The folder to write.")
def export_paper(report: Path, output: Path) -> None:
    """Writes each table as LaTeX, CSV and Markdown, each figure as PDF, SVG and PNG, and all.tex, which shows them all."""
    from apo_bench.report import export

    click.echo(export.export_paper(report, output))


@main.command("export")
@click.argument("kind", type=click.Choice(["pairs", "samples", "golden", "scores", "rejection-sampled"]))
@click.argument("input", type=FILE)
@click.argument("output", type=FILE)
@click.option("--plain", is_flag=True, help="Leave out subset and finished, which the authors' code has no use for.")
def export(kind: str, input: Path, output: Path, plain: bool) -> None:
    """Writes our records INPUT as a file of the authors' code: a JSON list (OUTPUT ends in .json) or JSONL (.jsonl).

    INPUT is of the kind pairs, samples, responses (golden) or scores (scores, rejection-sampled).
    """
    from apo_bench.exchange.exports import export_records

    click.echo(export_records(kind, input, output, plain))


@main.group("import")
def import_() -> None:
    """Writes a file of the authors' code INPUT, JSON list or JSONL, as our records OUTPUT (.jsonl)."""


@import_.command("pairs")
@click.argument("input", type=FILE)
@click.argument("output", type=FILE)
@SUBSET
def import_pairs(input: Path, output: Path, subset: str | None) -> None:
    """Human or adversarial pairs; an item of more responses becomes all pairs of different scores."""
    from apo_bench.exchange import imports

    click.echo(imports.import_pairs(input, output, subset))


@import_.command("samples")
@click.argument("input", type=FILE)
@click.argument("output", type=FILE)
@SUBSET
def import_samples(input: Path, output: Path, subset: str | None) -> None:
    """A policy's samples."""
    from apo_bench.exchange import imports

    click.echo(imports.import_samples(input, output, subset))


@import_.command("golden")
@click.argument("input", type=FILE)
@click.argument("output", type=FILE)
@click.option("--prompts", type=FILE, required=True, help="Our prompts or pairs, with the dialogues and subsets.")
def import_golden(input: Path, output: Path, prompts: Path) -> None:
    """Golden responses."""
    from apo_bench.exchange import imports

    click.echo(imports.import_golden(input, output, prompts))


@import_.command("scores")
@click.argument("input", type=FILE)
@click.argument("output", type=FILE)
@click.option("--samples", type=FILE, required=True, help="Our samples that were scored.")
def import_scores(input: Path, output: Path, samples: Path) -> None:
    """The scores a reward model gave to samples."""
    from apo_bench.exchange import imports

    click.echo(imports.import_scores(input, output, samples))


@import_.command("rejection-sampled")
@click.argument("input", type=FILE)
@click.argument("output", type=FILE)
@SUBSET
def import_rejection_sampled(input: Path, output: Path, subset: str | None) -> None:
    """Samples with their scores and the best of them as target."""
    from apo_bench.exchange import imports

    click.echo(imports.import_rejection_sampled(input, output, subset))


if __name__ == "__main__":
    main(prog_name="apo-bench")
