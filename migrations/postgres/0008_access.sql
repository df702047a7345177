-- Teams, where a push came from, and the last pulls. sqlite/ holds the same.

-- A team is a row of principals (`team:backend`): it is granted things as users and robots are. Teams do not nest.
create table team_members (
    team_id text not null,
    member_id text not null,
    created_at bigint not null,
    created_by text not null,
    constraint team_members_pk primary key (team_id, member_id),
    constraint team_members_team foreign key (team_id) references principals (id),
    constraint team_members_member foreign key (member_id) references principals (id)
);
create index team_members_member on team_members (member_id);

-- With which credential and from which address a tag was moved; null: before this was recorded.
alter table push_events add column credential text;
alter table push_events add column address text;
create index push_events_at on push_events (at, sequence);

-- What the audit reads of the events: what somebody did.
create index events_of_somebody on events (at, sequence) where principal is not null;

-- The last pull of each tag by each principal; an empty reference stands for pulls by digest. Written some seconds late, and read
-- again from the audit's segments after a crash.
create table last_pulls (
    repository text not null,
    reference text not null,
    principal text not null,
    at bigint not null,
    digest text not null,
    credential text not null,
    address text,
    constraint last_pulls_pk primary key (repository, reference, principal)
);
create index last_pulls_principal on last_pulls (principal, at);
