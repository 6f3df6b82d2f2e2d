"""Asynchronous work: jobs stored in DynamoDB and driven in short ticks by arq workers."""
