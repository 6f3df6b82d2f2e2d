"""For authors of agents on Lockgate: sync, stream and job entry points with progress, usage and stop."""

from lockgate_kit.agent import Agent
from lockgate_kit.tools import ToolDoor
from lockgate_kit.turn import Job, Turn

__all__ = ["Agent", "Job", "ToolDoor", "Turn"]
