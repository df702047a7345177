-- What the garbage collector took out of a repository lately. A manifest that names it counted on it: it is refused also where
-- incomplete manifests are taken.
create table collected (
    repository_id bigint not null,
    digest text not null,
    collected_at bigint not null,
    constraint collected_pk primary key (repository_id, digest)
);
create index collected_collected_at on collected (collected_at);
