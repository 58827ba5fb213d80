"""What holds for all tests: nothing of the person who runs them is read or written."""

from __future__ import annotations

import os
import tempfile

# Where a server started by a test keeps its state; for child processes as well, and before any is started.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="hostler-state-")
