"""A local AgentCore: the real data-plane and control-plane wire, one process per session, nothing of AWS needed."""
