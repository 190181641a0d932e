"""The options that commands share, each written once, and how they reach a command.

A command takes one parameter named `shared`, a frozen dataclass of options; `command` shows Typer
the fields of that dataclass as options of their own.
"""

import dataclasses
import functools
import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from distillcli.cli.app import Version, app
from distillcli.cli.completion import complete_source
from distillcli.cli.outcomes import guarded
from distillcli.errors import UsageError

if TYPE_CHECKING:
    from distillcli.config import Setting
    from distillcli.strategy.selection import Selection

Function = TypeVar("Function", bound=Callable[..., None])


def _option(*names: str, help: str, **more: Any) -> Any:
    return typer.Option(*names, envvar=_variable(names[0]), help=help, **more)


def source_option(help: str) -> Any:
    """An option that names a source, completed with files and the datasets in them."""
    return typer.Option(metavar="SOURCE", help=help, autocompletion=complete_source)


def _variable(flag: str) -> str:
    return "DISTILL_" + flag.removeprefix("--").replace("-", "_").upper()


TABLE_OR_JSON = ("table", "json")
TableOrJson = Annotated[
    str, _option("--format", metavar="|".join(TABLE_OR_JSON), help="What stdout carries.")
]


@dataclass(frozen=True)
class Shared:
    """Options of every command."""

    context: typer.Context
    quiet: Annotated[
        bool, _option("--quiet", help="No progress and no notes; the result and errors stay.")
    ] = False
    no_color: Annotated[bool, _option("--no-color", help="No colours.")] = False
    debug: Annotated[
        bool, _option("--debug", help="Show the traceback when distill itself fails.")
    ] = False
    version: Version = False

    def one_of(self, formats: Sequence[str], format: str) -> str:
        """The format that was asked for; raises UsageError where it is none of these."""
        if format not in formats:
            hint = f"one of {', '.join(formats)}"
            raise UsageError(self.called("format"), f"no format {format!r}", hint)
        return format

    def called(self, name: str) -> str:
        """What messages call an option: the flag, or the variable that its value came from."""
        flag = "--" + name.replace("_", "-")
        return flag if self._was_typed(name) else _variable(flag)

    def _was_typed(self, name: str) -> bool:
        source = self.context.get_parameter_source(name)
        return source is None or source.name == "COMMANDLINE"


@dataclass(frozen=True)
class Configuring(Shared):
    """Options of every command that reads a config: what beats it, and which rows are meant."""

    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override a key of the config, such as response.alpha=0.5; repeatable."
            "  [env var: DISTILL_SET, one a line]",
        ),
    ] = None
    device: Annotated[
        str | None, _option("--device", metavar="auto|cpu|cuda|cuda:N", help="Where to compute.")
    ] = None
    batch_size: Annotated[
        str | None, _option("--batch-size", metavar="N|auto", help="Rows per line of the report.")
    ] = None
    threads: Annotated[
        str | None, _option("--threads", metavar="N|auto", help="Threads that compute.")
    ] = None
    rows: Annotated[
        str | None,
        _option("--rows", metavar="A:B", help="Only the rows from A up to and without B."),
    ] = None
    limit: Annotated[
        str | None, _option("--limit", metavar="N", help="Only the first N of the rows.")
    ] = None

    def settings(self) -> list["Setting"]:
        """What beats the config: variables first, then flags, which beat them."""
        return self.variables() + self.flags()

    def variables(self) -> list["Setting"]:
        """What variables lay over the config."""
        from distillcli.config import parse_set

        lines = filter(str.strip, os.environ.get("DISTILL_SET", "").splitlines())
        return [parse_set(line, where="DISTILL_SET") for line in lines] + self._keys(typed=False)

    def flags(self) -> list["Setting"]:
        """What flags lay over the config."""
        from distillcli.config import parse_set

        return self._keys(typed=True) + [parse_set(text) for text in self.assignments or []]

    def _keys(self, *, typed: bool) -> list["Setting"]:
        """The options that are keys of a config, as far as they were typed, or were not."""
        from distillcli.config import Setting, parse_value

        texts = {key: getattr(self, key) for key in ("device", "batch_size", "threads")}
        return [
            Setting(self.called(key), key, parse_value(text, where=self.called(key)))
            for key, text in texts.items()
            if text is not None and self._was_typed(key) == typed
        ]

    def selection(self) -> "Selection":
        """The rows that `--rows` and `--limit` leave."""
        from distillcli.strategy.selection import Selection

        where = self.called
        return Selection.parse(
            self.rows, self.limit, where_rows=where("rows"), where_limit=where("limit")
        )


@dataclass(frozen=True)
class Computing(Configuring):
    """Options of every command that computes."""

    format: Annotated[
        str, _option("--format", metavar="table|json|jsonl|csv|md", help="What stdout carries.")
    ] = "table"
    export: Annotated[
        list[str] | None,
        typer.Option(
            "--export",
            metavar="FORMAT=PATH",
            help="Write the result to a file too, as json, jsonl, csv, md or txt; repeatable."
            "  [env var: DISTILL_EXPORT, one a line]",
        ),
    ] = None
    no_progress: Annotated[bool, _option("--no-progress", help="No progress on stderr.")] = False

    @property
    def shows_progress(self) -> bool:
        """Whether progress goes to stderr."""
        return not (self.no_progress or self.quiet)

    def exports(self) -> list[str]:
        """What `--export` says, each FORMAT=PATH; the variable counts without the flag."""
        variable = os.environ.get("DISTILL_EXPORT", "").splitlines()
        return self.export or [line.strip() for line in variable if line.strip()]


def command(name: str) -> Callable[[Function], Function]:
    """Register a function as a command.

    Its parameter `shared`, if it has one, is replaced by the options of that parameter's class, and
    what it raises becomes one line and an exit code.
    """

    def register(function: Function) -> Function:
        hints = get_type_hints(function, include_extras=True)
        options = hints.pop("shared")
        hints.pop("return", None)
        fields = dataclasses.fields(options)

        @functools.wraps(function)
        def run(**values: Any) -> None:
            shared = options(**{field.name: values.pop(field.name) for field in fields})
            guarded(lambda: function(**values, shared=shared), debug=shared.debug)

        own = inspect.signature(function).parameters
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # Typer reads it
            [
                *(_keyword(key, hints[key], own[key].default) for key in hints),
                *(_keyword(f.name, _hint(options, f.name), _default(f)) for f in fields),
            ]
        )
        run.__annotations__ = {
            parameter.name: parameter.annotation
            for parameter in inspect.signature(run).parameters.values()
        }
        app.command(name)(run)
        return function

    return register


def _keyword(name: str, hint: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)


def _hint(options: type, name: str) -> Any:
    return get_type_hints(options, include_extras=True)[name]


def _default(field: "dataclasses.Field[Any]") -> Any:
    return inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
