"""Wiring, processes, the operator's commands and the local stack."""
