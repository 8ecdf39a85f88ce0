"""`report`: pages about runs."""
