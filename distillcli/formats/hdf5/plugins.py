"""The filters of the extra `hdf5plugin`, loaded when a file first asks for one.

Its libraries are registered by hand, so that no plug-in needs to be looked for in any folder.
"""

from importlib.util import find_spec

import h5py

# By the numbers at https://github.com/HDFGroup/hdf5_plugins/blob/master/docs/RegisteredFilterPlugins.md
PLUGIN_FILTERS = {
    307: "bzip2",
    32001: "blosc",
    32004: "lz4",
    32008: "bitshuffle",
    32013: "zfp",
    32015: "zstd",
    32026: "blosc2",
}
INSTALL = "pip install 'distillcli[hdf5plugin]'"


def available(number: int) -> bool:
    """Whether a filter can be undone here; those of the extra are loaded for it."""
    if number in PLUGIN_FILTERS and not h5py.h5z.filter_avail(number):
        _load()
    return bool(h5py.h5z.filter_avail(number))


def installed() -> bool:
    """Whether the extra is there; nothing is loaded."""
    try:
        return find_spec("hdf5plugin") is not None
    except ValueError:
        return False


def _load() -> None:
    try:
        import hdf5plugin  # noqa: F401 - loading it makes its filters known
    except ImportError:
        return
