-- The number of the last transaction that concerned a service (its row, deployments or tasks) or an instance (its row, or what
-- tasks hold there). Drawn from a counter row, so that the numbers are in the order of commits: who has seen everything up to one of
-- them sees the rest by asking for what comes after it. kind is `service` or `instance`.
create table changes (
    kind text not null,
    id text not null,
    sequence bigint not null,
    constraint changes_pk primary key (kind, id)
);
create index changes_sequence on changes (kind, sequence);

insert into changes (kind, id, sequence) select 'service', id, row_number() over (order by id) from services;
insert into changes (kind, id, sequence) select 'instance', id, row_number() over (order by id) from instances;
insert into counters (name, value) select 'changes', coalesce(max(sequence), 0) from changes;
