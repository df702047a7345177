-- Settings of repositories: which tags may move, how much fits, whether manifests may be incomplete; and who may pull.

-- JSON: what differs from the usual
alter table repositories add column settings text not null default '{}';
-- 1: everybody may pull, without logging in
alter table repositories add column public bigint not null default 0;
