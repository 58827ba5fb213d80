"""Packages whose `__init__` loads far more than we need of them."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType


class _Unopened(ModuleType):
    """A package to import from; its own code runs when somebody asks for a name that it defines.

    `_homes` says where some of these names come from: they are got from there, and it stays unopened.
    """

    def __getattr__(self, name: str) -> object:
        home = self.__dict__["_homes"].get(name)
        if home is not None:
            return getattr(importlib.import_module(home), name)
        spec = self.__spec__
        assert spec is not None
        assert spec.loader is not None
        self.__class__ = ModuleType  # type: ignore[assignment]  # from now on like any other
        spec.loader.exec_module(self)
        return getattr(self, name)


def leave_unopened(package: str, **homes: str) -> None:
    """Let `package.module` be imported without the code of `package` itself, unless it has run already.

    `homes` are names that the package defines, each with the module it comes from.
    """
    if package in sys.modules:
        return
    spec = importlib.util.find_spec(package)
    if spec is None:
        return  # whoever imports it is told
    module = importlib.util.module_from_spec(spec)
    module.__class__ = _Unopened
    module.__dict__["_homes"] = homes
    sys.modules[package] = module
