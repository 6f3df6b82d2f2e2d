"""Runbooks: pages that operators read, and that are run as they stand."""
