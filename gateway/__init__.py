"""The HTTP edge: who calls, the request path, and what goes back over the wire."""
