"""Notices to GLI's users: the application's only model."""
