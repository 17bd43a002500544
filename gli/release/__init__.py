"""What a verdict lets through."""
