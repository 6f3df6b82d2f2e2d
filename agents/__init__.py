"""What can be invoked and how: the catalog, sessions, and AgentCore's two planes."""
