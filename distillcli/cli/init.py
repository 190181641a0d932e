"""`distill init` on the command line."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from distillcli.cli.options import Shared, command, source_option


@command("init")
def init(
    strategy: Annotated[
        str, typer.Argument(metavar="STRATEGY", help="response, progressive or ensemble.")
    ],
    teacher: Annotated[
        list[str] | None,
        source_option("Your teacher's logits; of an ensemble repeatable."),
    ] = None,
    student: Annotated[str | None, source_option("Your student's logits.")] = None,
    labels: Annotated[str | None, source_option("Your labels.")] = None,
    teacher_hidden: Annotated[str | None, source_option("Your teacher's hidden states.")] = None,
    student_hidden: Annotated[str | None, source_option("Your student's hidden states.")] = None,
    *,
    shared: Shared,
) -> None:
    """Print a commented config to start from. On the sample data, or on files of your own."""
    from distillcli import report
    from distillcli.commands.init import init as run
    from distillcli.commands.init import sample_steps

    given = {
        "teacher": teacher or [],
        "student": [student] if student else [],
        "labels": [labels] if labels else [],
        "teacher_hidden": [teacher_hidden] if teacher_hidden else [],
        "student_hidden": [student_hidden] if student_hidden else [],
    }
    own = {key: sources for key, sources in given.items() if sources}
    # A config is UTF-8, whatever the terminal's encoding is.
    sys.stdout.buffer.write(run(strategy, own, folder=Path.cwd()).encode("utf-8"))
    if not own and not shared.quiet and sample_steps(Path.cwd()) is None:
        report.print_note(
            "the inputs are those of distill's sample data, which are not here; "
            "--teacher FILE --student FILE and so on put yours in their place",
            sys.stderr,
            color=False if shared.no_color else None,
        )
