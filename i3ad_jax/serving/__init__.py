"""A detector behind HTTP: requests of many clients scored together."""
