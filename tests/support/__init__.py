"""Data, networks and tools that several test files share."""
