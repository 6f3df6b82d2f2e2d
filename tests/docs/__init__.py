"""Papers as tests: what a page promises exists, and what exists is on its page."""
