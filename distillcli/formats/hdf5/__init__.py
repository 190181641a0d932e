"""HDF5 files. The only package that names h5py and hdf5plugin.

An input may come from anywhere: what could make the library read other files, unpack without
bound or invent values is refused before any value is read.
"""

import os

# No plug-in is loaded from the environment's folders unless the user has set this; those of the
# extra are registered by hand.
os.environ.setdefault("HDF5_PLUGIN_PRELOAD", "::")

from distillcli.formats.hdf5.remote import Hdf5File

__all__ = ["Hdf5File"]
