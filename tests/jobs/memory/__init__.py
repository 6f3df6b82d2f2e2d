"""DynamoDB and Redis in memory, as far as jobs and webhooks use them, and the jobs floor on top of them.

For tests that need thousands of interleavings; `tests/conformance/` holds the items to a real store's conduct.
"""
