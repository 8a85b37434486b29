"""Imported first: lets the package be imported on a machine without the codecs of picture files.

Machines with a GPU that are lent for minutes have little installed. Programs that import this give their pictures
as arrays, so nothing of what is missing is ever called.
"""

import importlib.util
import sys
from types import ModuleType

CODECS = ("imagecodecs", "isal", "simplejpeg", "tifffile")


class _Absent(ModuleType):
    """In the place of a library: all names in it are errors that nobody raises."""

    def __getattr__(self, name: str) -> type[Exception]:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (Exception,), {})


for _name in CODECS:
    if importlib.util.find_spec(_name) is None:
        sys.modules[_name] = _Absent(_name)
