-- Every operation that a database was seen with. An operation that ended is told by nobody else once another one begins,
-- so this cannot be built anew from the cluster.
create table operation (
    id          text primary key,
    database_id uuid not null references database_record,
    started_at  timestamptz not null,
    operation   jsonb not null,
    -- That the audit log tells what it removed.
    is_audited  boolean not null default false
);
create index on operation (database_id, started_at);

alter table audit add column receipt_sha256 text;

-- Databases by what they were restored from.
alter table database_record add column source_id uuid;
create index on database_record (source_id) where source_id is not null;
