-- Keys are stored as the SHA-256 of 256 random bits: found by one look-up, and of no use to who reads the table.
create table api_key (
    id         uuid primary key,
    name       text not null check (length(name) between 1 and 100),
    team       text not null check (length(team) between 1 and 40),
    role       text not null check (role in ('platform-team', 'product-team')),
    digest     bytea not null unique check (octet_length(digest) = 32),
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz
);

-- One row before a change is tried (intent) and one for how every call ended (outcome); a call's rows share its intent.
create table audit (
    id          bigint generated always as identity primary key,
    at          timestamptz not null default clock_timestamp(),
    stage       text not null check (stage in ('intent', 'outcome')),
    intent      uuid not null,
    request_id  text not null,
    key_id      uuid not null,
    team        text not null,
    role        text not null,
    action      text not null,
    source      text not null,
    resource_kind text not null,
    resource_id text,
    status      integer check (status between 100 and 599),
    unique (intent, stage),
    check ((stage = 'outcome') = (status is not null))
);
