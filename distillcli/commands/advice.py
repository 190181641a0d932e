"""How to go on from what an inspection has found: shards as one array, and lines to type."""

import shlex
from collections.abc import Iterator, Sequence

from distillcli.formats.declared import FAMILY
from distillcli.inspecting.inspection import ArrayFound, FileFound, ShardsFound

LINES = 3


def shards_of(pattern: str, files: Sequence[FileFound]) -> Iterator[ShardsFound]:
    """The files of a glob, joined: one entry for each array that the first one holds."""
    for first in files[0].arrays:
        source = f"{pattern}::{first.name}" if first.name else pattern
        yield _joined(source, first, files)


def _joined(source: str, first: ArrayFound, files: Sequence[FileFound]) -> ShardsFound:
    rows = 0
    for file in files:
        shard = next((array for array in file.arrays if array.name == first.name), None)
        problem = _odd(shard, first)
        if problem is not None or shard is None or not shard.shape:
            where = source_name(file, first)
            told = f"{where}: {problem}"
            return ShardsFound(source, len(files), None, first.type, first.looks, told)
        rows += shard.shape[0]
    shape = (rows, *(first.shape or ())[1:])
    return ShardsFound(source, len(files), shape, first.type, first.looks)


def source_name(file: FileFound, array: ArrayFound) -> str:
    """A file and the name that is looked for in it."""
    return f"{file.path}::{array.name}" if array.name else file.path


def _odd(shard: ArrayFound | None, first: ArrayFound) -> str | None:
    """What keeps a shard from being joined to the first one."""
    if shard is None:
        return "is not there"
    if shard.refusal is not None:
        return shard.refusal.problem
    if shard.type != first.type:
        return f"elements are {shard.type}, those of the first are {first.type}"
    if not shard.shape or not first.shape or shard.shape[1:] != first.shape[1:]:
        return f"shape is {_shape(shard)}, that of the first is {_shape(first)}"
    return None


def _shape(array: ArrayFound) -> list[int]:
    return list(array.shape or ())


def advice(files: Sequence[FileFound], shards: Sequence[ShardsFound]) -> tuple[str, ...]:
    """A few lines that tell how to use what was found, the most useful first."""
    usable = [array for file in files for array in file.arrays if array.refusal is None]
    usable.sort(key=_not_finite)
    joined = [each for each in shards if each.problem is None]
    command = list(_scoring(joined or usable)) or list(_base(files))
    lines = [*_top_k(files), *_kinds(files), *_layers(files, usable)]
    if (not command and not lines) or (joined and not command):
        command += [f"as a source: {source}" for source in _logits_first(joined or usable)[:1]]
    return tuple([*command, *lines][:LINES])


def _not_finite(array: ArrayFound) -> bool:
    """Whether it has values that score would stop at."""
    return array.sample is not None and array.sample.nan + array.sample.inf > 0


def _logits_first(usable: Sequence[ArrayFound | ShardsFound]) -> list[str]:
    return [array.source for array in sorted(usable, key=lambda each: each.looks != "logits")]


def _base(files: Sequence[FileFound]) -> Iterator[str]:
    """A base of llama.cpp is a teacher, and brings the labels."""
    for file in files:
        if file.format == "llama.cpp":
            words = ["distill", "score", "--teacher", file.path, "--student", "STUDENT"]
            yield shlex.join([*words, "--labels", f"{file.path}::labels", "--temperature", "1"])
            return


def _top_k(files: Sequence[FileFound]) -> Iterator[str]:
    """The largest classes are a source where it is said how many there are in all."""
    for file in files:
        for array in file.arrays:
            if array.looks == "top_k_values" and not _tells(file):
                scores = array.sample is not None and (array.sample.high or 0) <= 0
                kind = ", kind: log_probabilities" if scores else ""
                yield f"in a config: {{path: {file.path}, classes: N{kind}}}, N classes in all"
                return


def _scoring(usable: Sequence[ArrayFound | ShardsFound]) -> Iterator[str]:
    """A command that scores what is named as a student against what is named as a teacher."""
    logits = [array for array in usable if array.looks == "logits" and array.rank in (2, 3)]
    student = next((each for each in logits if "student" in each.source.lower()), None)
    teacher = next((each for each in logits if _teaches(each, student)), None)
    if student is None or teacher is None:
        return
    words = ["distill", "score", "--teacher", teacher.source, "--student", student.source]
    labels = [each for each in usable if each.looks == "labels" and each.shape is not None]
    fitting = next((each for each in labels if each.shape == (student.shape or ())[:-1]), None)
    yield shlex.join([*words, *(("--labels", fitting.source) if fitting else ())])


def _teaches(teacher: ArrayFound | ShardsFound, student: ArrayFound | ShardsFound | None) -> bool:
    alike = student is not None and teacher.shape == student.shape
    return alike and "teacher" in teacher.source.lower()


def _kinds(files: Sequence[FileFound]) -> Iterator[str]:
    """Probabilities are no logits: a source has to say so, unless the file itself does."""
    for file in files:
        if file.format == "llama.cpp":
            continue
        if _tells(file):
            yield f"as a source: {file.path}"
            return
        for array in file.arrays:
            if array.refusal is None and array.looks in ("probabilities", "log_probabilities"):
                yield _declared(file, array)
                return


def _tells(file: FileFound) -> bool:
    """Whether the file itself says what its numbers are, as one of `distill ensemble` does."""
    return str(file.attributes.get("schema", "")).startswith(f"{FAMILY}/")


def _declared(file: FileFound, array: ArrayFound) -> str:
    temperature = {**file.attributes, **array.attributes}.get("temperature")
    taken_at = "" if temperature in (None, 1) else f", temperature: {temperature}"
    return f"in a config: {{path: {array.source}, kind: {array.looks}{taken_at}}}"


def _layers(files: Sequence[FileFound], usable: Sequence[ArrayFound]) -> Iterator[str]:
    groups = [group.source for file in files for group in file.layers]
    groups += [array.source for array in usable if array.looks == "hidden_states" and array.layers]
    for side in ("teacher", "student"):
        named = next((source for source in groups if side in source.lower()), None)
        if named is not None:
            yield f"in a config: {side}_hidden: {named}"
