-- The schema of Berth. postgres/ holds the same in PostgreSQL's DDL.
-- Types: text, bigint, bytes. Bool is 0/1, time is microseconds since the epoch (*_at), structures are JSON text.

-- === platform

-- What is set at first start and never changes (account_id, region, control_plane_id), and the epoch.
create table settings (
    name text not null,
    value text not null,
    constraint settings_pk primary key (name)
);

-- Append-only: service events, changes for the audit, what the live stream reads. Numbered from a counter row, so that the
-- sequence is the order of commits.
create table events (
    sequence bigint not null,
    at bigint not null,
    kind text not null,
    principal text,
    -- resource the event is about, `service:default/web`
    subject text not null,
    message text not null,
    detail text not null,
    constraint events_pk primary key (sequence)
);
create index events_subject on events (subject, sequence);

create table counters (
    name text not null,
    value bigint not null,
    constraint counters_pk primary key (name)
);
insert into counters (name, value) values ('events', 0), ('push_events', 0), ('identity_version', 1);

-- Exchange: the only tables that registry and deployer both touch.
create table push_events (
    sequence bigint not null,
    repository text not null,
    tag text not null,
    digest text not null,
    principal text not null,
    at bigint not null,
    constraint push_events_pk primary key (sequence)
);

-- Digests that the registry's garbage collector must keep, and for whom (`task-definition:web:7`).
create table pins (
    repository text not null,
    digest text not null,
    holder text not null,
    created_at bigint not null,
    constraint pins_pk primary key (repository, digest, holder)
);
create index pins_holder on pins (holder);

-- === identity

create table principals (
    id text not null,
    disabled bigint not null,
    password_hash text,
    created_at bigint not null,
    created_by text not null,
    constraint principals_pk primary key (id)
);

create table grants (
    id text not null,
    principal_id text not null,
    role text not null,
    kind text not null,
    pattern text not null,
    created_at bigint not null,
    created_by text not null,
    constraint grants_pk primary key (id),
    constraint grants_unique unique (principal_id, role, kind, pattern),
    constraint grants_principal foreign key (principal_id) references principals (id)
);

create table tokens (
    id text not null,
    principal_id text not null,
    secret_hash blob not null,
    label text not null,
    -- JSON list of {role, kind, pattern} that narrows the owner; null: everything the owner may
    scope text,
    created_at bigint not null,
    expires_at bigint,
    revoked_at bigint,
    constraint tokens_pk primary key (id),
    constraint tokens_secret_unique unique (secret_hash),
    constraint tokens_principal foreign key (principal_id) references principals (id)
);

create table access_keys (
    id text not null,
    principal_id text not null,
    secret_sealed blob not null,
    created_at bigint not null,
    revoked_at bigint,
    constraint access_keys_pk primary key (id),
    constraint access_keys_principal foreign key (principal_id) references principals (id)
);

-- The private authority: certificate in PEM, key sealed with the master key.
create table authorities (
    id text not null,
    certificate text not null,
    key_sealed blob not null,
    created_at bigint not null,
    constraint authorities_pk primary key (id)
);

create table join_tokens (
    id text not null,
    secret_hash blob not null,
    cluster text not null,
    created_at bigint not null,
    created_by text not null,
    expires_at bigint not null,
    used_at bigint,
    constraint join_tokens_pk primary key (id),
    constraint join_tokens_secret_unique unique (secret_hash)
);

create table agent_certificates (
    serial text not null,
    instance_id text not null,
    created_at bigint not null,
    expires_at bigint not null,
    revoked_at bigint,
    constraint agent_certificates_pk primary key (serial)
);
create index agent_certificates_instance on agent_certificates (instance_id);

-- === registry

create table repositories (
    id bigint not null,
    name text not null,
    created_at bigint not null,
    created_by text not null,
    tags text not null,
    constraint repositories_pk primary key (id),
    constraint repositories_name_unique unique (name)
);

-- Bytes on storage, once for all repositories. Who may read them is in repository_blobs.
create table blobs (
    digest text not null,
    size bigint not null,
    storage_key text not null,
    created_at bigint not null,
    touched_at bigint not null,
    constraint blobs_pk primary key (digest)
);

create table repository_blobs (
    repository_id bigint not null,
    digest text not null,
    linked_at bigint not null,
    constraint repository_blobs_pk primary key (repository_id, digest),
    constraint repository_blobs_repository foreign key (repository_id) references repositories (id),
    constraint repository_blobs_blob foreign key (digest) references blobs (digest)
);
create index repository_blobs_digest on repository_blobs (digest);

create table manifests (
    repository_id bigint not null,
    digest text not null,
    media_type text not null,
    artifact_type text,
    subject text,
    annotations text,
    body blob not null,
    created_at bigint not null,
    constraint manifests_pk primary key (repository_id, digest),
    constraint manifests_repository foreign key (repository_id) references repositories (id)
);
create index manifests_subject on manifests (repository_id, subject);

-- Edges from a manifest to what it needs: kind is `manifest` or `blob`.
create table manifest_references (
    repository_id bigint not null,
    digest text not null,
    child text not null,
    kind text not null,
    constraint manifest_references_pk primary key (repository_id, digest, child, kind)
);
create index manifest_references_child on manifest_references (repository_id, child);

create table tags (
    repository_id bigint not null,
    name text not null,
    digest text not null,
    updated_at bigint not null,
    constraint tags_pk primary key (repository_id, name)
);
create index tags_digest on tags (repository_id, digest);

-- Open upload sessions; how many bytes are held is the length of the file.
create table uploads (
    id text not null,
    repository text not null,
    principal text not null,
    storage_key text not null,
    created_at bigint not null,
    constraint uploads_pk primary key (id)
);

-- === deployer

create table clusters (
    name text not null,
    status text not null,
    created_at bigint not null,
    tags text not null,
    client_settings text not null,
    constraint clusters_pk primary key (name)
);

create table families (
    name text not null,
    last_revision bigint not null,
    constraint families_pk primary key (name)
);

create table task_definitions (
    family text not null,
    revision bigint not null,
    status text not null,
    -- the request as it was given
    document text not null,
    -- container name to image, resolved at registration where it is ours
    images text not null,
    tags text not null,
    registered_at bigint not null,
    registered_by text not null,
    deregistered_at bigint,
    constraint task_definitions_pk primary key (family, revision)
);

create table services (
    id text not null,
    cluster text not null,
    name text not null,
    status text not null,
    desired_count bigint not null,
    family text not null,
    revision bigint not null,
    minimum_healthy_percent bigint not null,
    maximum_percent bigint not null,
    placement_strategy text not null,
    placement_constraints text not null,
    health_check_grace_period_secs bigint not null,
    principal text not null,
    client_token text,
    tags text not null,
    -- what clients set and read back, without effect here
    client_settings text not null,
    version bigint not null,
    created_at bigint not null,
    constraint services_pk primary key (id)
);
create unique index services_name_unique on services (cluster, name) where status <> 'INACTIVE';
create index services_name on services (cluster, name);

create table deployments (
    id text not null,
    service_id text not null,
    status text not null,
    family text not null,
    revision bigint not null,
    -- container name to image by digest, fixed when the deployment is made
    images text not null,
    rollout_state text not null,
    rollout_state_reason text not null,
    failed_tasks bigint not null,
    consecutive_failures bigint not null,
    not_before bigint not null,
    created_at bigint not null,
    updated_at bigint not null,
    constraint deployments_pk primary key (id)
);
create index deployments_service on deployments (service_id, created_at);

create table instances (
    id text not null,
    cluster text not null,
    name text not null,
    status text not null,
    agent_connected bigint not null,
    cpu bigint not null,
    memory bigint not null,
    reserved_ports text not null,
    attributes text not null,
    agent_version text not null,
    docker_version text not null,
    address text not null,
    version bigint not null,
    registered_at bigint not null,
    constraint instances_pk primary key (id)
);
create index instances_cluster on instances (cluster);

create table tasks (
    id text not null,
    cluster text not null,
    service_id text,
    deployment_id text,
    family text not null,
    revision bigint not null,
    task_group text not null,
    started_by text,
    instance_id text,
    reserved text not null,
    overrides text not null,
    images text not null,
    principal text not null,
    client_token text,
    tags text not null,
    desired_status text not null,
    stop_code text,
    stopped_reason text,
    last_status text not null,
    health_status text not null,
    containers text not null,
    -- sequence of the last report taken
    report_sequence bigint not null,
    connected bigint not null,
    -- 1 once the agent's STOPPED report is on record or no agent can have it
    settled bigint not null,
    version bigint not null,
    created_at bigint not null,
    pull_started_at bigint,
    pull_stopped_at bigint,
    started_at bigint,
    stopping_at bigint,
    stopped_at bigint,
    healthy_at bigint,
    constraint tasks_pk primary key (id)
);
create index tasks_cluster on tasks (cluster, created_at);
create index tasks_service on tasks (service_id, last_status);
create index tasks_instance on tasks (instance_id, settled);
create index tasks_stopped on tasks (last_status, stopped_at);

-- Labelled containers that agents found and that no task here explains. Kept until a person decides.
create table unknown_containers (
    instance_id text not null,
    runtime_id text not null,
    name text not null,
    task_id text,
    image text not null,
    status text not null,
    seen_at bigint not null,
    constraint unknown_containers_pk primary key (instance_id, runtime_id)
);
