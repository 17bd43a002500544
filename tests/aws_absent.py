"""Members that AWS may leave out, with a meaning: a default, nothing of the kind, or not set.

A check takes the absence of such a member for an answer. Any other member that a probe reads makes its checks `unknown`
where it is absent. Source of truth: the API reference of each operation. CloudFront's `Quantity` is only compared with
the number of items.
"""

from __future__ import annotations

from collections.abc import Mapping

MAY_BE_ABSENT: Mapping[str, str] = {
    "acm.describe_certificate": (
        "CertificateTransparencyLoggingPreference NotAfter Options RenewalSummary SubjectAlternativeNames"
    ),
    "application-autoscaling.describe_scaling_policies": (
        "CustomizedMetricSpecification PolicyType PredefinedMetricSpecification "
        "PredefinedMetricType PredictiveScalingPolicyConfiguration ScaleOutCooldown StepScalingPolicyConfiguration "
        "TargetTrackingScalingPolicyConfiguration"
    ),
    "cloudfront.get_distribution": (
        "ACMCertificateArn CachePolicyId DefaultRootObject DefaultTTL ErrorCachingMinTTL ForwardedValues "
        "FunctionAssociations Headers Items LambdaFunctionAssociations MinTTL MinimumProtocolVersion "
        "OriginAccessControlId OriginAccessIdentity OriginGroups OriginPath PathPattern Quantity ResponseCode "
        "ResponsePagePath S3OriginConfig TrustedKeyGroups TrustedSigners"
    ),
    "cloudfront.list_distributions": "Items Quantity Staging",
    "cloudfront.list_invalidations": "Items Quantity",
    "cloudwatch.describe_alarms": "AlarmArn AlarmRule DatapointsToAlarm LogAlarms MetricName Metrics StateReason",
    "ec2.describe_nat_gateways": "AvailabilityMode NatGatewayAddresses PrivateIp",
    "ec2.describe_network_acls": "Ipv6CidrBlock",
    "ec2.describe_route_tables": "DestinationIpv6CidrBlock SubnetId",
    "ec2.describe_security_groups": "FromPort ToPort",
    "ec2.describe_subnets": "Ipv6Native",
    "ecr.batch_get_image": "failures imageTag",
    "ecr.batch_get_repository_scanning_configuration": "scanFrequency scanOnPush",
    "ecr.describe_image_scan_findings": "description",
    "ecr.describe_repositories": "encryptionConfiguration kmsKey",
    "ecs.describe_services": (
        "advancedConfiguration alarms assignPublicIp awsvpcConfiguration capacityProviderStrategy containerPort "
        "deploymentCircuitBreaker "
        "deploymentConfiguration deploymentController deployments enable "
        "healthCheckGracePeriodSeconds lifecycleHooks loadBalancers networkConfiguration "
        "platformFamily platformVersion rollback rolloutState rolloutStateReason securityGroups strategy subnets "
        "targetGroupArn taskSets type"
    ),
    "ecs.describe_task_definition": (
        "awslogs-group awslogs-region command compatibilities dependsOn entryPoint environmentFiles essential "
        "executionRoleArn firelensConfiguration healthCheck logConfiguration logDriver "
        "networkMode operatingSystemFamily options repositoryCredentials requiresCompatibilities runtimePlatform "
        "containerPort cpu portMappings secretOptions secrets stopTimeout taskRoleArn ulimits value"
    ),
    "ecs.describe_tasks": "exitCode lastStatus managedAgents networkInterfaces reason stopCode stoppedAt stoppedReason",
    "ecs.list_service_deployments": "nextToken statusReason",
    "elasticache.describe_replication_groups": (
        "Address ConfigurationEndpoint KmsKeyId MultiAZ NodeGroupMembers Port PrimaryEndpoint "
        "ReadEndpoint ReaderEndpoint SnapshotRetentionLimit UserGroupIds"
    ),
    "elbv2.describe_listeners": "MutualAuthentication Protocol SslPolicy StatusCode",
    "elbv2.describe_load_balancers": "IpAddressType Scheme SecurityGroups VpcId",
    "elbv2.describe_rules": "ForwardConfig Order TargetGroupArn",
    "elbv2.describe_target_groups": "HealthCheckPath HttpCode Matcher",
    "elbv2.describe_target_health": "Description Reason",
    "iam.get_account_authorization_details": "PermissionsBoundary",
    "logs.describe_log_groups": "kmsKeyId logGroupClass retentionInDays",
    "logs.filter_log_events": "nextToken",
    "rds.describe_db_instances": (
        "DBClusterIdentifier DBName KmsKeyId LatestRestorableTime MaxAllocatedStorage PendingModifiedValues"
    ),
    "route53.list_hosted_zones_by_name": "Config IsTruncated PrivateZone",
    "route53.list_resource_record_sets": "AliasTarget CidrRoutingConfig CountryCode Failover GeoLocation Weight",
    "s3.get_bucket_encryption": "ApplyServerSideEncryptionByDefault KMSMasterKeyID Rules",
    "s3.get_bucket_versioning": "Status",
    "s3.head_bucket": "BucketRegion HTTPHeaders ResponseMetadata",
    "secretsmanager.batch_get_secret_value": "Errors",
    "secretsmanager.list_secrets": "DeletedDate KmsKeyId NextRotationDate RotationEnabled SecretVersionsToStages",
    "sns.get_subscription_attributes": "FilterPolicy FilterPolicyScope",
    "sns.get_topic_attributes": "KmsMasterKeyId",
}
"""Operation to the names of such members in its answer."""
