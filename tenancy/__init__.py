"""Who is asking, what they may use, and the only doors to their data. Imports nothing else of Lockgate."""
