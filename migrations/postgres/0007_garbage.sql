-- What the garbage collector looks at. Each column is null while something needs the row; else it is the moment from which its time
-- counts. The transactions that take a reference away write it, so that a pass reads what may be garbage and nothing else.

-- When the repository's last manifest that names the blob went, or when it was pushed, mounted or asked for since.
alter table repository_blobs add column unused_since bigint;
create index repository_blobs_unused on repository_blobs (unused_since) where unused_since is not null;

-- When the last repository let go of the blob, with no manifest that names it.
alter table blobs add column unlinked_since bigint;
create index blobs_unlinked on blobs (unlinked_since) where unlinked_since is not null;

-- When the last tag or index that names the manifest went, or when it was pushed without.
alter table manifests add column untagged_since bigint;
create index manifests_untagged on manifests (untagged_since) where untagged_since is not null;

-- Digests are compared with each other, and an index serves only its own collation: that of manifests.
alter table blobs alter column digest type text collate "C";
alter table repository_blobs alter column digest type text collate "C";
alter table manifests alter column subject type text collate "C";
alter table manifest_references alter column digest type text collate "C", alter column child type text collate "C";
alter table tags alter column digest type text collate "C";

-- By child first: who needs a blob is asked over all repositories.
drop index manifest_references_child;
create index manifest_references_child on manifest_references (child, repository_id);

-- Files that nothing refers to any more. The row goes after the file.
create table removals (
    storage_key text not null,
    size bigint not null,
    queued_at bigint not null,
    constraint removals_pk primary key (storage_key)
);

-- What stands from before is dated now.
update repository_blobs set unused_since = cast(extract(epoch from now()) * 1000000 as bigint)
where not exists (select 1 from manifest_references e
                  where e.repository_id = repository_blobs.repository_id and e.child = repository_blobs.digest);
update blobs set unlinked_since = cast(extract(epoch from now()) * 1000000 as bigint)
where not exists (select 1 from repository_blobs l where l.digest = blobs.digest)
  and not exists (select 1 from manifest_references e where e.child = blobs.digest);
update manifests set untagged_since = cast(extract(epoch from now()) * 1000000 as bigint)
where not exists (select 1 from tags t where t.repository_id = manifests.repository_id and t.digest = manifests.digest)
  and not exists (select 1 from manifest_references e
                  where e.repository_id = manifests.repository_id and e.child = manifests.digest);

-- Holders are looked for by their beginning, byte by byte.
alter table pins alter column holder type text collate "C";

-- Pins of deployments that run or can be rolled back to, and of the digests that live task definitions name.
insert into pins (repository, digest, holder, created_at)
select i.value ->> 'repository', i.value ->> 'digest', 'service:' || d.service_id || ':' || d.id, d.created_at
from deployments d join services s on s.id = d.service_id, jsonb_each(d.images::jsonb) i
where s.status = 'ACTIVE' and (d.status <> 'INACTIVE' or d.rollout_state = 'COMPLETED')
  and i.value ->> 'repository' is not null and i.value ->> 'digest' is not null
on conflict do nothing;
insert into pins (repository, digest, holder, created_at)
select i.value ->> 'repository', i.value ->> 'digest', 'task-definition:' || t.family || ':' || t.revision, t.registered_at
from task_definitions t, jsonb_each(t.images::jsonb) i
where t.status = 'ACTIVE' and i.value ->> 'repository' is not null and i.value ->> 'digest' is not null
on conflict do nothing;
