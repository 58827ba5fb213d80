"""What holds for all tests: nothing of the person who runs them is read or written."""

from __future__ import annotations

import os
import tempfile

from hypothesis import settings

# Where a server started by a test keeps its state; for child processes as well, and before any is started.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="hostler-state-")

# How long an example takes says more about who else uses the machine; whole tests have their limit.
settings.register_profile("hostler", deadline=None)
settings.load_profile("hostler")
