-- Keys are stored as the SHA-256 of 256 random bits: found by one look-up, and of no use to who reads the table.
create table api_key (
    id           uuid primary key,
    name         text not null check (length(name) between 1 and 100),
    team         text not null check (length(team) between 1 and 40),
    role         text not null check (role in ('platform-team', 'product-team')),
    digest       bytea not null unique check (octet_length(digest) = 32),
    -- The audit intent that made the key: an effect without an intent cannot be stored.
    intent       uuid not null unique,
    created_at   timestamptz not null default now(),
    expires_at   timestamptz,
    revoked_at   timestamptz,
    -- Coarse: moved at most once an hour.
    last_used_at timestamptz
);

create index api_key_order on api_key (created_at, id);

-- One row before a change is tried (intent) and one for how every call ended (outcome). Rows are only ever appended.
-- The rows of one change share its intent; a read, which has no intent row, has none.
create sequence audit_id;
create table audit (
    id             bigint not null default nextval('audit_id'),
    at             timestamptz not null default clock_timestamp(),
    stage          text not null check (stage in ('intent', 'outcome')),
    intent         uuid,
    request_id     text,
    key_id         uuid,
    team           text,
    role           text,
    action         text not null,
    resource_kind  text not null,
    resource_id    text,
    outcome        text check (outcome in ('succeeded', 'denied', 'failed', 'unknown')),
    status         integer check (status between 100 and 599),
    source         text not null,
    changed_fields text[] not null default '{}',
    -- How many calls the row stands for: more than one only for failed authentications.
    calls          integer not null default 1 check (calls > 0),
    primary key (id, at),
    check ((stage = 'outcome') = (outcome is not null)),
    check (stage = 'outcome' or intent is not null)
) partition by range (at);

create index audit_of_team on audit (team, id);
create index audit_of_intent on audit (intent) where intent is not null;
create index audit_open_intents on audit (at) where stage = 'intent';

-- The chain over the rows, in the order of their ids. 
-- digest = SHA-256 (digest before, sequence, audit_id, audit_at in microseconds, row_digest).
create table audit_seal (
    sequence   bigint primary key,
    audit_id   bigint not null unique,
    audit_at   timestamptz not null,
    row_digest bytea not null check (octet_length(row_digest) = 32),
    digest     bytea not null check (octet_length(digest) = 32)
);

-- Where the chain begins, which moves when whole months are dropped, and up to when intents have an outcome. One row.
create table audit_chain (
    singleton       boolean primary key default true check (singleton),
    start_sequence  bigint not null default 0,
    start_audit_id  bigint not null default 0,
    start_digest    bytea not null default decode(repeat('00', 32), 'hex'),
    expired_before  timestamptz,
    completed_until timestamptz not null default '-infinity'
);
insert into audit_chain default values;

-- Makes the table of this month and of the months ahead, in UTC.
create function audit_make_months(ahead integer) returns void language plpgsql as $$
declare
    first timestamp;
    name  text;
begin
    for step in 0..ahead loop
        first := date_trunc('month', now() at time zone 'utc') + make_interval(months => step);
        name := 'audit_' || to_char(first, 'YYYY_MM');
        if to_regclass(name) is null then
            -- Two that find it missing at once: the second waits, and finds it then.
            perform pg_advisory_xact_lock(hashtext('audit_make_months'));
            execute format('create table if not exists %I partition of audit for values from (%L) to (%L)', name,
                first at time zone 'utc', (first + interval '1 month') at time zone 'utc');
        end if;
    end loop;
end
$$;
select audit_make_months(2);
