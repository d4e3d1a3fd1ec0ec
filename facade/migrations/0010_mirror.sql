-- What the cluster was last seen to hold. One replica mirrors the cluster into these tables; requests write through.
-- Nothing here is the truth but history and what is gone: the rest can be rebuilt from the cluster at any time.
create table database_record (
    id               uuid primary key,
    -- Guards against going back: the API server's versions of one object only grow.
    resource_version bigint not null,
    namespace        text not null,
    name             text not null,
    owner_team       text not null,
    tier             text not null,
    status           text not null,
    purpose          text not null default '',
    created_at       timestamptz not null,
    deleted_at       timestamptz,
    resource         jsonb not null
);
create index on database_record (created_at, id);
create index on database_record (owner_team, created_at, id);

-- One row for each change of a database that means something to people.
create table database_transition (
    id               bigint generated always as identity primary key,
    database_id      uuid not null references database_record,
    resource_version bigint not null,
    at               timestamptz not null,
    change           text not null,
    before           text,
    after            text,
    detail           text,
    -- Whom the API server recorded as the writer of the field; for writes over REST, who asked.
    manager          text,
    intent           uuid,
    team             text,
    key_id           uuid,
    unique (database_id, resource_version, change)
);
create index on database_transition (database_id, id);

-- Of which cluster, and how fresh. One row.
create table mirror (
    one       boolean primary key default true check (one),
    cluster   uuid,
    listed_at timestamptz,
    heard_at  timestamptz,
    rebuild   boolean not null default false
);
insert into mirror default values;
