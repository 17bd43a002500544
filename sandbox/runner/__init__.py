"""A small runner of GitHub Actions: runs the deploy workflow of a repository against the sandbox, from the same YAML.

It covers what the workflows of `pipelines/` use: called workflows, inputs, variables, `needs`, `if`, `env`, outputs of
steps, `shell: bash`, and the actions in `sandbox.runner.actions`. It does not cover: OpenID Connect (the role is not
assumed, the credentials are the sandbox's), signatures of attestations, approvals of environments, `concurrency`,
matrices, caches, containers, other runners than this machine, and Docker: `sandbox.runner.docker` stands in for it.
"""
