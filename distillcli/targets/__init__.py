"""Soft-target files: what goes into them, how they come to be whole, and whether they still are.

`spec` says what is wanted, `encoding` makes arrays of a blend, `pieces` and `partial` keep finished
work beside the output, `assembly` makes one file of it, and `checking` holds a file against itself.
"""

from distillcli.targets.assembly import assemble
from distillcli.targets.checking import Verified, check
from distillcli.targets.encoding import Encoded, encode
from distillcli.targets.partial import Partial
from distillcli.targets.spec import Spec

__all__ = ["Encoded", "Partial", "Spec", "Verified", "assemble", "check", "encode"]
