"""`distill doctor`: what distill runs on here, and what `--device auto` chooses."""

import platform

from distillcli.backend import probe_gpu
from distillcli.passes import available_threads
from distillcli.tabulate import versions

UNTESTED = (
    "the GPU path has been written and tested against strict arrays, and has not run on a GPU yet"
)


def doctor() -> dict[str, str]:
    """What there is, in the order in which it matters; each value is one line."""
    gpu = probe_gpu()
    chosen = "cuda:0" if gpu.missing is None else f"cpu, because {gpu.missing}"
    found = {
        **versions(),
        "platform": platform.platform(),
        "CPU threads": str(available_threads()),
        **{f"GPU: {check}": result for check, result in gpu.checks},
        "device auto": chosen,
    }
    if gpu.hint is not None:
        found["to get the GPU"] = gpu.hint
    return {**found, "GPU code": UNTESTED}
