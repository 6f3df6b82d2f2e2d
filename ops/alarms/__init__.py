"""Alarms: what must be true for one to ring, as data, and the watch that reads the private ports and decides."""
