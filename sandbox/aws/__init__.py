"""AWS: moto's server in a process of its own (`python -m sandbox.aws --port N`), and GLI's stack seeded into it."""
