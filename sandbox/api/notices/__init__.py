"""Notices to GLI's users: the application's one model."""
