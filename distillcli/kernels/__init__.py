"""Fused fast paths: what losses and metrics ask of class scores, from few passes over the cache.

A kernel computes nothing of its own: it fills in what `Logits` would compute when asked, faster and
within the same bounds, and what it leaves out the plain functions compute. So the functions in
`losses/` stay the definition and the oracle of every kernel.
"""

from distillcli.kernels.rows import fill
from distillcli.kernels.wanted import Wanted

__all__ = ["Wanted", "fill"]
