"""The one room that changes AWS: CloudFormation stacks, planned, applied and compared with what runs."""
