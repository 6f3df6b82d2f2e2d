"""What operators of the platform do over the API, one file per noun; nothing here acts for a tenant."""
