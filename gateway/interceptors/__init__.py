"""What stands between a tenant and an agent: one concern a module, pure functions on bytes, no I/O."""
