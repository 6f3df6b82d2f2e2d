"""The local stack: every part a deployment leans on, embedded and bound to loopback."""
