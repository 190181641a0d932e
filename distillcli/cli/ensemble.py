"""`distill ensemble` on the command line."""

import io
import sys
from pathlib import Path
from typing import Annotated

import typer

from distillcli.cli.completion import complete_config
from distillcli.cli.options import Computing, command
from distillcli.cli.output import Output


@command("ensemble")
def ensemble(
    config: Annotated[
        Path,
        typer.Argument(metavar="CONFIG", help="A YAML config.", autocompletion=complete_config),
    ],
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="Where to: FILE.h5 or FILE.npy.")
    ],
    kind: Annotated[
        str,
        typer.Option(
            metavar="logits|probabilities|log_probabilities", help="What the numbers are."
        ),
    ] = "logits",
    dtype: Annotated[
        str, typer.Option(metavar="float16|float32|float64", help="Their type.")
    ] = "float32",
    top_k: Annotated[
        int | None,
        typer.Option("--top-k", metavar="K", help="Keep the K largest classes of each row."),
    ] = None,
    compression: Annotated[
        str, typer.Option(metavar="none|gzip|lzf", help="How chunks are packed, in HDF5.")
    ] = "none",
    copy_labels: Annotated[
        bool, typer.Option("--copy-labels", help="Put the labels into the file too.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from what an interrupted run has finished.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there already.")
    ] = False,
    *,
    shared: Computing,
) -> None:
    """Several teachers blended into soft targets, written to a file."""
    from distillcli.commands.ensemble import Existing
    from distillcli.commands.ensemble import ensemble as run
    from distillcli.commands.strategy import from_file
    from distillcli.report.ensemble import write_ensemble
    from distillcli.targets import Spec
    from distillcli.writing.outputs import replacing

    out = Output(shared, shared.format)
    spec = Spec(output, kind, dtype, top_k, compression, copy_labels)
    spec.refuse_inputs([str(config)])
    strategy = from_file(config, shared.settings(), require_student=False)
    result = run(
        strategy,
        spec,
        Existing(resume, overwrite),
        progress=out.progress,
        note=out.note,
        selection=shared.selection(),
    )
    for export in out.exports:
        with replacing(export.file.path, role=export.file.flag) as file:
            shown = io.StringIO()
            write_ensemble(result, shown, format=export.format, color=False)
            file.write(shown.getvalue().encode("utf-8"))
    write_ensemble(result, sys.stdout, format=out.format, color=out.color)
