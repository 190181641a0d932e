"""Row statistics on a GPU: CUDA kernels that read every score once, for up to four temperatures.

They read it in the type it is stored in. The sources also compile as plain C++17, with a block of
threads on one processor, which is how tests hold them on machines that have no GPU.
"""

from distillcli.kernels.cuda.launching import fill

__all__ = ["fill"]
