-- Triggers: a service's container follows a repository by a tag filter. sqlite/ holds the same.

-- What the token that pushed was narrowed to, as JSON list of {role, kind, pattern}; null: everything its owner may.
alter table push_events add column scope text;
create index push_events_repository on push_events (repository, sequence);

create table triggers (
    id text not null,
    service_id text not null,
    cluster text not null,
    service text not null,
    container text not null,
    repository text not null,
    -- exact, glob, semver or regex
    kind text not null,
    pattern text not null,
    -- JSON list of {kind, pattern}
    excludes text not null,
    -- held_*: null unless its service is kept from following
    held_reason text,
    held_by text,
    held_at bigint,
    -- the last push before it was held
    held_push bigint,
    created_by text not null,
    created_at bigint not null,
    -- only pushes after this one count
    after_push bigint not null,
    constraint triggers_pk primary key (id)
);
create index triggers_service on triggers (service_id);
create index triggers_repository on triggers (repository);

-- What became of a push for a trigger: exactly one row for each pair. The push is repeated here, so that history stands by itself.
create table trigger_decisions (
    id text not null,
    trigger_id text not null,
    push bigint not null,
    service_id text not null,
    cluster text not null,
    service text not null,
    container text not null,
    repository text not null,
    tag text not null,
    digest text not null,
    pusher text not null,
    pushed_at bigint not null,
    -- taken, skipped, waiting, held, superseded, approved or rejected
    status text not null,
    reason text not null,
    -- the push that took its place
    superseded_by bigint,
    -- who approved or rejected it
    decided_by text,
    decided_at bigint not null,
    deployment_id text,
    service_deployment_id text,
    family text,
    revision bigint,
    constraint trigger_decisions_pk primary key (id),
    constraint trigger_decisions_unique unique (trigger_id, push)
);
create index trigger_decisions_service on trigger_decisions (service_id, status);
create index trigger_decisions_status on trigger_decisions (status);
create index trigger_decisions_push on trigger_decisions (push, id);
