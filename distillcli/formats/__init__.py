"""Stored arrays as rows: one file per file format; FORMATS is the only list of them."""

from distillcli.formats.elements import BFLOAT16, Element, widen
from distillcli.formats.files import FileIdentity
from distillcli.formats.layers import open_layers
from distillcli.formats.needs import CLASS_MAP, GROUPS, MASK, TOKENS
from distillcli.formats.opening import FORMATS, name_of, open_rows
from distillcli.formats.readers import Reader, describe

__all__ = [
    "BFLOAT16",
    "CLASS_MAP",
    "FORMATS",
    "GROUPS",
    "MASK",
    "TOKENS",
    "Element",
    "FileIdentity",
    "Reader",
    "describe",
    "name_of",
    "open_layers",
    "open_rows",
    "widen",
]
