"""What can go wrong, as one small tree.

Every error names the culprit (`where`), says what is wrong (`problem`) and, where there is one, the
way out (`hint`). The command line prints them as one line each and exits with `exit_code`.
"""

from collections.abc import Sequence


class DistillError(Exception):
    """An error that a user can act on.

    Args:
        where: the culprit: a file, `file::dataset`, `file:line:column: key`, or a flag.
        problem: what is wrong with it.
        hint: the way out, if there is one.
    """

    exit_code = 2

    def __init__(self, where: str, problem: str, hint: str | None = None) -> None:
        super().__init__(where, problem, hint)
        self.where = where
        self.problem = problem
        self.hint = hint

    def __str__(self) -> str:
        message = f"{self.where}: {self.problem}" if self.where else self.problem
        return f"{message}; {self.hint}" if self.hint else message


class UsageError(DistillError):
    """A command line that cannot be run as it stands; `where` names the flag."""


class ConfigError(DistillError):
    """A config that cannot be used; `where` is `file:line:column: key`."""


class ConfigErrors(ConfigError):
    """All mistakes of one config at once, in the order of its lines."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        first = errors[0]
        super().__init__(first.where, first.problem, first.hint)
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


class DataError(DistillError):
    """An input that cannot be used; `where` names the role and the file, and a row if need be."""


class DataErrors(DataError):
    """Several inputs that cannot be used, all told at once."""

    def __init__(self, errors: Sequence[DistillError]) -> None:
        first = errors[0]
        super().__init__(first.where, first.problem, first.hint)
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


class FormatError(DataError):
    """A file that is not what it should be: cut short, of another format, of a refused type."""


class MissingError(DataError):
    """A file or a dataset that is not there; the hint lists what is."""


class NoBaselineError(MissingError):
    """There is no saved result to compare with yet; the hint is the command that makes one."""


class MismatchError(DataError):
    """Two inputs that do not fit each other."""


class ChangedError(DataError):
    """An input that changed while it was read."""


class BackendError(DistillError):
    """The device that was asked for is not there or failed."""

    exit_code = 3


class DeviceMemoryError(BackendError):
    """The memory of a device is full; fewer rows at once may fit."""
