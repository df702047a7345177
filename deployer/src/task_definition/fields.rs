//! The fields of ECS's task definition that Berth takes. Everything else is refused by name when it says something.

use crate::aws::fields::{Field, Rule};

/// Top level of RegisterTaskDefinition.
pub const DOCUMENT: &[Field] = &[
    ("family", Rule::Required),
    ("containerDefinitions", Rule::Each(CONTAINER)),
    ("volumes", Rule::Each(VOLUME)),
    ("networkMode", Rule::Only(&["bridge", "host", "none"])),
    ("cpu", Rule::Taken),
    ("memory", Rule::Taken),
    ("tags", Rule::Taken),
    ("requiresCompatibilities", Rule::ListOf(&["EC2", "EXTERNAL"])),
    // The role with which ECS itself pulls images and writes logs: Berth's agents have their own credentials.
    ("executionRoleArn", Rule::Ignored),
    ("runtimePlatform", Rule::Object(&[("operatingSystemFamily", Rule::Only(&["LINUX"]))])),
];

const CONTAINER: &[Field] = &[
    ("name", Rule::Required),
    ("image", Rule::Required),
    ("cpu", Rule::Taken),
    ("memory", Rule::Taken),
    ("memoryReservation", Rule::Taken),
    ("essential", Rule::Taken),
    ("portMappings", Rule::Each(PORT_MAPPING)),
    ("environment", Rule::Each(KEY_VALUE)),
    ("entryPoint", Rule::Taken),
    ("command", Rule::Taken),
    ("workingDirectory", Rule::Taken),
    ("user", Rule::Taken),
    ("mountPoints", Rule::Each(MOUNT_POINT)),
    ("healthCheck", Rule::Object(HEALTH_CHECK)),
    ("stopTimeout", Rule::Taken),
    ("dockerLabels", Rule::Taken),
    // Images of this registry always run by digest.
    ("versionConsistency", Rule::Only(&["enabled"])),
    // Docker's own default, which is what runs.
    ("logConfiguration", Rule::Object(&[("logDriver", Rule::Only(&["json-file"]))])),
];

const PORT_MAPPING: &[Field] = &[
    ("containerPort", Rule::Taken),
    ("hostPort", Rule::Taken),
    ("protocol", Rule::Only(&["tcp", "udp"])),
    ("name", Rule::Taken),
    // Says something to Service Connect only.
    ("appProtocol", Rule::Ignored),
];

const KEY_VALUE: &[Field] = &[("name", Rule::Required), ("value", Rule::Taken)];

const MOUNT_POINT: &[Field] = &[("sourceVolume", Rule::Required), ("containerPath", Rule::Required), ("readOnly", Rule::Taken)];

const HEALTH_CHECK: &[Field] = &[
    ("command", Rule::Taken),
    ("interval", Rule::Taken),
    ("timeout", Rule::Taken),
    ("retries", Rule::Taken),
    ("startPeriod", Rule::Taken),
];

const VOLUME: &[Field] = &[("name", Rule::Required), ("host", Rule::Object(&[("sourcePath", Rule::Taken)]))];
