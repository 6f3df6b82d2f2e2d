"""The tools' door: what agents may call on behalf of a tenant, and how a call reaches what answers it."""
