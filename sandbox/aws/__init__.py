"""AWS: moto's server in its own process (`python -m sandbox.aws --port N`), with GLI's stack seeded into it."""
