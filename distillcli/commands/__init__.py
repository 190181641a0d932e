"""One file per command: plain functions, callable from Python, that return a Result."""
