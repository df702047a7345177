-- Hosts that drain, and many that are lost at once.

create index instances_status on instances (cluster, status);

-- A cluster that lost many instances at once: what ran on them is not replaced before `until_at`.
create table brakes (
    cluster text not null,
    -- ids of the lost instances, JSON
    lost text not null,
    began_at bigint not null,
    until_at bigint not null,
    constraint brakes_pk primary key (cluster)
);
