"""An agent that cannot even be imported."""

raise RuntimeError("no configuration")
