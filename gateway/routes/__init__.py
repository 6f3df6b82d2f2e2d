"""One file of handlers per noun of the northbound API."""
