-- What write transactions lock: all of them together, or one alone, when it lost to the others too often. Holds no rows. On SQLite
-- there is one writer.

create table turns (
    name text not null,
    constraint turns_pk primary key (name)
);
