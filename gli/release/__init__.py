"""Release operations on the eight repositories: promotion, rollback, emergency push, log and doctor."""
