"""Mutated files through the command line: a result, or one clear line; never a crash or a hang.

    python tests/fuzz.py --count 100000 --seed 1 --keep findings

Every input has a number; the same seed and number make the same input. A finding is a traceback, an
exit code that is not the user's side, words on stdout beside an error, a signal, more than five
seconds, or more than 300 MB.
"""

import argparse
import contextlib
import io
import json
import mmap
import os
import random
import resource
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np

HANG = 5.0  # seconds
MEMORY = 300 << 20
CHUNK = 500  # inputs that one process sees
KINDS = ("npy", "npz", "h5", "safetensors", "kld", "yaml")


@dataclass(frozen=True)
class Finding:
    """An input that was not dealt with as it should be."""

    name: str
    problem: str


def arrays() -> dict[str, Any]:
    """Small arrays of every type and form."""
    scores = np.random.default_rng(0).normal(size=(60, 7)).astype("<f4")
    return {
        "scores": scores,
        "half": scores.astype("<f2"),
        "double": scores.astype(">f8"),
        "columns": np.asfortranarray(scores),
        "positions": scores.reshape(12, 5, 7),
        "bits": scores.view("<u4").astype("<u2"),
    }


def _npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _npz(**options: Any) -> bytes:
    buffer = io.BytesIO()
    save = np.savez_compressed if options.get("packed") else np.savez
    save(buffer, scores=arrays()["scores"], other=arrays()["columns"], text=np.array("x"))
    return buffer.getvalue()


def _top_k() -> bytes:
    """The largest classes of each row, which inspect weighs."""
    scores = arrays()["scores"]
    indices, buffer = np.argsort(-scores, 1)[:, :3], io.BytesIO()
    log_z = np.log(np.exp(scores).sum(1))
    values = np.take_along_axis(scores, indices, 1)
    np.savez(buffer, values=values, indices=indices, log_z=log_z)
    return buffer.getvalue()


def _safetensors() -> bytes:
    """Written here, for the library of the format is not what is tested."""
    fields: dict[str, Any] = {"__metadata__": {"format": "np", "title": "a text"}}
    codes = {"scores": "F32", "half": "F16", "bits": "BF16", "labels": "I64"}
    values = {**arrays(), "labels": np.arange(60)}
    data = b""
    for name, code in codes.items():
        begin, data = len(data), data + values[name].tobytes()
        shape = list(values[name].shape)
        fields[name] = {"dtype": code, "shape": shape, "data_offsets": [begin, len(data)]}
    header = json.dumps(fields).encode()
    return len(header).to_bytes(8, "little") + header + data


def _kld(vocabulary: int) -> bytes:
    """A base of llama.cpp: 5 chunks of a context of 25, 12 positions of each stored."""
    chance = np.random.default_rng(vocabulary)
    tokens = chance.integers(0, vocabulary, 125, dtype="<i4")
    rows = np.zeros((60, 8 + 4 * ((vocabulary + 1) // 2)), np.uint8)
    rows[:, :8] = np.array([16 / 65535, -16.5], "<f4").view(np.uint8)
    steps = chance.integers(0, 1 << 16, (60, vocabulary), dtype="<u2")
    steps[:, 0] = 65535
    rows[:, 8 : 8 + 2 * vocabulary] = steps.view(np.uint8)
    head = struct.pack("<8siii", b"_logits_", 25, vocabulary, 5)
    return head + tokens.tobytes() + rows.tobytes()


def _h5(libver: str | None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=libver) as file:
        scores = file.create_dataset("run/scores", data=arrays()["scores"], **options)
        scores.attrs["unit"], scores.attrs["values"] = "nats", [1.0, 2.0]
        file.attrs["title"] = "a text of any length"
        file.attrs.create("fixed", np.bytes_("a fixed text"))
        file["labels"] = np.arange(60)
        file["soft"], file["external"] = h5py.SoftLink("/labels"), h5py.ExternalLink("z.h5", "/x")
        file["texts"], file["records"] = ["a", "bb"], np.zeros(3, [("a", "f4"), ("b", "i8")])
    return buffer.getvalue()


CONFIGS = (
    "strategy: response\nteacher: good.npy\nstudent: good.h5::x\nlabels: labels.npy\n"
    "batch_size: 7\nthreads: 2\ndevice: cpu\nprecision: float64\nmetrics: [kl_mean, student_ece]\n"
    "on_bad_rows: skip\nresponse:\n  soft_loss: {name: jsd, temperature: 4.0, beta: 0.3}\n"
    "  alpha: 0.7\n",
    "strategy: progressive\nteacher_hidden: [good.npy, good.npy]\nstudent_hidden: [good.npy]\n"
    "device: cpu\nprogressive:\n  layer_mapping: [[0, 0], [0, 1]]\n  loss: cosine\n"
    "  layer_weights: [1, 2]\n  projection: {init: least_squares, ridge: 1.0e-3}\n",
    "strategy: ensemble\nteachers: [good.npy, {path: good.h5, dataset: x, kind: logits}]\n"
    "student: good.npy\nlabels: labels.npy\ndevice: cpu\n"
    "ensemble: {combine: probabilities, weights: accuracy, temperature: 2, alpha: .5}\n",
)


@cache
def originals(kind: str) -> tuple[bytes, ...]:
    """The files of a kind that are mutated."""
    if kind == "npy":
        return tuple(_npy(array) for array in arrays().values())
    if kind == "npz":
        return _npz(), _npz(packed=True), _top_k()
    if kind == "safetensors":
        return (_safetensors(),)
    if kind == "kld":
        return tuple(_kld(vocabulary) for vocabulary in (7, 8))
    if kind == "yaml":
        return tuple(text.encode() for text in CONFIGS)
    gzip = {"chunks": (9, 3), "compression": "gzip"}
    resizable: dict[str, Any] = {"chunks": (9, 3), "maxshape": (None, None)}
    plans: list[tuple[str | None, dict[str, Any]]] = [
        (None, {}),
        (None, {"chunks": (9, 7)}),
        (None, {**gzip, "shuffle": True, "fletcher32": True}),
        (None, {"compression": "lzf"}),
        (None, resizable),
        ("latest", {}),
        ("latest", gzip),
        ("latest", resizable),
        ("latest", {"chunks": (9, 3), "maxshape": (None, 7)}),
        (None, {"chunks": (9, 7), **hdf5plugin.Zstd()}),
        (None, {"chunks": (9, 7), **hdf5plugin.LZ4()}),
        ("latest", {"chunks": (9, 7), **hdf5plugin.Blosc()}),
        (None, {"chunks": (9, 7), "fletcher32": True, **hdf5plugin.Bitshuffle()}),
    ]
    return tuple(_h5(libver, **options) for libver, options in plans)


SIGNS = b"{}[]:,-#&*!|>'\"%@` \t\n\x00\x1b~?<.0189e+_=\xc2\xa0\xe2\x80\xae"


def mutated(chance: random.Random, kind: str) -> bytes:
    """A file of this kind with a few mistakes, most of them where the headers are."""
    data = bytearray(chance.choice(originals(kind)))
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        reach = min(len(data), chance.choice((64, 200, 1000, 4000, 1 << 30)))
        at = chance.randrange(reach) if reach else 0
        if chance.random() < 0.2:  # the directory of a zip, and much of HDF5, lies at the end
            at = max(0, len(data) - 1 - at)
        _mutate(chance, data, at, SIGNS if kind == "yaml" else bytes(range(256)))
    return bytes(data)


def _mutate(chance: random.Random, data: bytearray, at: int, signs: bytes) -> None:
    width = chance.choice((2, 4, 8))
    match chance.randrange(12):
        case 0 | 1 | 2:
            data[at : at + 1] = bytes([chance.choice(signs)])
        case 3:
            data[at : at + 1] = bytes([chance.choice((0, 1, 127, 128, 255))])
        case 4:
            data[at : at + 1] = bytes(byte ^ 1 << chance.randrange(8) for byte in data[at : at + 1])
        case 5 | 6:
            edges = (0, 1, 2, 2**31, 2 ** (8 * width) - 1, 2 ** (8 * width - 1), len(data))
            value = chance.choice((*edges, chance.randrange(2 ** (8 * width))))
            data[at : at + width] = (value % 2 ** (8 * width)).to_bytes(width, "little")
        case 7:
            del data[at : at + chance.randrange(1, 9)]
        case 8:
            data[at:at] = bytes(chance.choices(signs, k=chance.randrange(1, 9)))
        case 9 | 10:
            source, length = chance.randrange(len(data) + 1), chance.choice((8, 16, 64, 256))
            data[at : at + length] = data[source : source + length]
        case _:
            del data[chance.randrange(len(data) + 1) :]


def prepared(folder: Path) -> None:
    """The good files that configs name."""
    scores = arrays()["scores"]
    np.save(folder / "good.npy", scores)
    np.save(folder / "labels.npy", np.arange(60) % 7)
    with h5py.File(folder / "good.h5", "w") as file:
        file["x"] = scores


def command(kind: str, path: str, chance: random.Random) -> list[str]:
    """What is done with an input."""
    shown = chance.choice(("json", "table", "csv", "md"))
    if kind == "yaml":
        return chance.choice((["score", path, "--format", shown], ["validate", path]))
    if kind == "kld" and chance.random() < 0.6:
        given = ["score", "--teacher", path, "--student", "good.npy", "--temperature", "1"]
        return [*given, "--labels", f"{path}::labels", "--device", "cpu", "--format", shown]
    names = {
        "kld": ("", "::log_probabilities", "::labels"),
        "npy": ("",),
        "npz": ("", "::scores", "::values"),
        "h5": ("", "::run/scores", "::run"),
        "safetensors": ("", "::scores", "::bits"),
    }[kind]
    name = path + chance.choice(names)
    if chance.random() < 0.3:
        return ["inspect", path, "--format", chance.choice(("table", "json"))]
    return ["score", "--teacher", name, "--student", name, "--device", "cpu", "--format", shown]


@cache
def program() -> Any:
    """The commands, made once: Typer makes them anew for each call."""
    from typer.main import get_command

    from distillcli.cli.program import app

    return get_command(app)


def ended(arguments: Sequence[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    code: Any = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            program().main(list(arguments), prog_name="distill")
        except SystemExit as end:
            code = end.code or 0
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())  # type: ignore[attr-defined]
    return code, texts[0], texts[1]


def judged(arguments: Sequence[str]) -> str | None:
    """What is wrong with how a command ended; None if nothing is."""
    code, out, err = ended(arguments)
    if code not in (0, 2) or "Traceback" in out + err:
        return f"exit {code}: {err[-500:]}"
    lines = [line for line in err.splitlines() if line.startswith("distill: error: ")]
    if (code == 2) != bool(lines):
        return f"exit {code} with {len(lines)} lines of errors"
    if code == 2 and out and arguments[0] != "inspect":
        return f"an error, and on stdout {out[:100]!r}"
    if not all(line.isprintable() for line in (out + err).split("\n")):
        return "raw control characters"
    if arguments[-1] == "json" and out:
        json.loads(out, parse_constant=lambda name: 1 / 0)
    return None


def numbered(seed: int, index: int, kinds: Sequence[str]) -> tuple[str, bytes, random.Random]:
    """The input of a number: its kind, its bytes, and the chance that goes on from there."""
    chance = random.Random(f"{seed}.{index}")
    kind = kinds[index % len(kinds)]
    return kind, mutated(chance, kind), chance


def _work(seed: int, first: int, stop: int, kinds: Sequence[str], state: mmap.mmap) -> None:
    """Deal with some inputs, one after the other; `state` says which one is in work."""
    for index in range(first, stop):
        struct.pack_into("<q", state, 0, index)
        kind, data, chance = numbered(seed, index, kinds)
        path = Path(f"bad-{index % 7}.{kind}")
        path.write_bytes(data)
        arguments = command(kind, str(path), chance)
        try:
            problem = judged(arguments)
        except BaseException as error:
            problem = f"{type(error).__name__}: {error}"
        if problem:
            with open("findings", "a") as file:
                file.write(json.dumps([index, f"{' '.join(arguments)}: {problem}"]) + "\n")


def _watched(seed: int, first: int, stop: int, kinds: Sequence[str]) -> Iterator[tuple[int, str]]:
    """The findings among some inputs, which a process of their own deals with."""
    state = mmap.mmap(-1, 8)
    while first < stop:
        struct.pack_into("<q", state, 0, first)
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                _work(seed, first, stop, kinds, state)
                os._exit(0)
            os._exit(99)
        status, peak = _awaited(child, state)
        (at,) = struct.unpack_from("<q", state)
        if status == 0:
            if peak > MEMORY:
                yield at, f"{peak >> 20} MB among the inputs from {first} on"
            return
        yield at, "hangs" if status == -signal.SIGKILL else f"ends the process: {status}"
        first = at + 1


def _awaited(child: int, state: mmap.mmap) -> tuple[int, int]:
    """How the process ended, and its peak of memory; it is killed where an input takes too long."""
    last, since = -1, time.monotonic()
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024
        (now,) = struct.unpack_from("<q", state)
        if now != last:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > HANG:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.02)


def fuzz(
    count: int, seed: int, kinds: Sequence[str] = KINDS, *, first: int = 0, keep: Path | None = None
) -> list[Finding]:
    """The findings among so many inputs, from number `first` on."""
    from distillcli.backend import one_blas_thread

    one_blas_thread()
    import distillcli.cli.program
    import distillcli.commands.score
    import distillcli.commands.validate
    import distillcli.formats.hdf5
    import distillcli.formats.kld
    import distillcli.formats.safetensors
    import distillcli.report  # noqa: F401

    found: list[tuple[int, str]] = []
    with tempfile.TemporaryDirectory(dir=_memory_disk()) as name, contextlib.chdir(name):
        prepared(Path())
        for begin in range(first, first + count, CHUNK):
            stop = min(begin + CHUNK, first + count)
            found += _watched(seed, begin, stop, kinds)
        if os.path.exists("findings"):
            found += [tuple(json.loads(line)) for line in open("findings")]  # noqa: SIM115
    if keep is not None and found:
        keep.mkdir(exist_ok=True)
        for index, _ in found:
            kind, data, _ = numbered(seed, index, kinds)
            (keep / f"{seed}-{index}.{kind}").write_bytes(data)
    return [Finding(f"{seed}.{index}", problem) for index, problem in sorted(found)]


def _memory_disk() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def main() -> int:
    """Tell the findings; exit 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--first", type=int, default=0, help="the number to begin with")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--keep", type=Path, help="a folder for the inputs that are findings")
    given = parser.parse_args()
    keep = given.keep.resolve() if given.keep else None
    start = time.monotonic()
    found = fuzz(given.count, given.seed, given.kinds, first=given.first, keep=keep)
    for one in found:
        print(f"{one.name}: {one.problem}")
    seconds = time.monotonic() - start
    print(f"{given.count:,} inputs, {len(found)} findings, {seconds:,.0f} s")
    return 1 if found else 0


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    sys.exit(main())
