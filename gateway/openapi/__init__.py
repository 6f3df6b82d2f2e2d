"""The API's description, generated from the route table, the wire models and the table of problems."""
