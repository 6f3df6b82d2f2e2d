"""An agent that never begins to serve."""

import signal

signal.pause()
