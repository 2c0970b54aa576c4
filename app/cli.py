"""The `annealer` command."""

import sys
from typing import TYPE_CHECKING

import typer

from app.commands import blobs, datasets, ensembles, jobs, keys, operations, predictions, results, service, specs
from app.commands.terminal import BAD_INPUT, REFUSED, UNREACHABLE, program

if TYPE_CHECKING:
    from app.client import ProblemError

HELP = """Train image classifiers, score them as ensembles.

Start with `annealer up` and `annealer submit SPEC --watch`.

Exit codes: 0 done (of watch: the job succeeded), 1 doctor found a problem, 2 bad input, 3 the job failed, 4 the job
was cancelled, 5 the server cannot be reached, 6 the server refused."""

cli = typer.Typer(
    help=HELP,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)
for subject in (service, specs, jobs, results, predictions, operations):
    cli.add_typer(subject.commands)
cli.add_typer(datasets.commands, name="datasets")
cli.add_typer(ensembles.commands, name="ensembles")
cli.add_typer(keys.commands, name="keys")
cli.add_typer(blobs.commands, name="blobs")


def main() -> None:
    """Run the command; what goes wrong becomes a sentence and an exit code."""
    try:
        cli()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        code, sentence = _explain(error)
        typer.echo(sentence, err=True)
        sys.exit(code)


def _explain(error: Exception) -> tuple[int, str]:
    from app.client import ClientError, ProblemError, Unreachable
    from app.embedded import CannotStart
    from app.parcel import Unsendable
    from app.settings import SettingsInvalid
    from trainer.errors import SpecInvalid

    match error:
        case Unreachable():
            return UNREACHABLE, f"{error} Is it running? Start one here with `{program()} up`."
        case ProblemError():
            return _problem(error)
        case ClientError() | CannotStart():
            return REFUSED, str(error)
        case Unsendable() | SettingsInvalid():
            return BAD_INPUT, str(error)
        case SpecInvalid():
            return BAD_INPUT, "\n".join(mistake.detail for mistake in error.mistakes)
        case OSError() if error.filename:
            return BAD_INPUT, f"{error.filename}: {error.strerror}"
    raise error


def _problem(error: "ProblemError") -> tuple[int, str]:
    places = [
        f"{place.pointer or place.parameter or place.header or place.entry}: {place.detail}"
        for place in error.problem.errors
    ]
    code = BAD_INPUT if error.problem.status == 422 else REFUSED
    return code, "\n".join([str(error), *places])
