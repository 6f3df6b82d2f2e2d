"""A drill: agents' region is lost under load, left, and come back to; every call and job is accounted for."""
