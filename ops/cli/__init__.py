"""The `lockgate` command, one file per noun."""
