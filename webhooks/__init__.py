"""Webhooks: where a tenant wants to be told, what it is told, and how that gets there."""
