"""The processes of a running site and what holds them together."""
