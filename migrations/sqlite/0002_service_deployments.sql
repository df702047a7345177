-- Service deployments: each attempt to bring a service to a revision, who asked for it and how it ended; and the circuit breaker.

alter table services add column circuit_breaker text not null
    default '{"enable":false,"rollback":false,"resetOnHealthyTask":true,"threshold":{"type":"BOUNDED_PERCENT","value":50}}';

-- on whose authority the images are pulled; null for deployments that are older than this column
alter table deployments add column principal text;
-- failures since the deployment last began, and those since a task last became healthy
alter table deployments add column breaker_failures bigint not null default 0;
alter table deployments add column breaker_consecutive bigint not null default 0;

create table service_deployments (
    id text not null,
    service_id text not null,
    -- deployment it is to bring, and those that ran when it began
    target text not null,
    sources text not null,
    from_task_definition text,
    to_task_definition text not null,
    -- create, update, force, trigger, rollback
    kind text not null,
    principal text not null,
    trigger_id text,
    push_sequence bigint,
    status text not null,
    status_reason text not null,
    breaker_status text not null,
    breaker_failures bigint not null,
    breaker_threshold bigint not null,
    -- {reason, startedAt, target}
    rollback text,
    created_at bigint not null,
    started_at bigint,
    finished_at bigint,
    stopped_at bigint,
    updated_at bigint not null,
    constraint service_deployments_pk primary key (id)
);
create index service_deployments_service on service_deployments (service_id, created_at);
-- At most one of a service is under way.
create unique index service_deployments_current on service_deployments (service_id) where finished_at is null;
