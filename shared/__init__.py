"""Plumbing of the cookbook that no reader came to learn; see the modules."""
