"""The operator's console: a local page about a running node, in a process of its own that only reads what it leaves."""
