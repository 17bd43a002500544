"""The one package that changes AWS: CloudFormation stacks are planned, applied, and compared with what runs."""
