-- What was answered to a request with an Idempotency-Key, so that its repetition has no second effect.
create table idempotency (
    team        text not null,
    target      text not null,
    key         text not null,
    fingerprint bytea not null,
    -- Marks the effect, whichever try brings it about: a later one recognizes what an earlier one made.
    intent      uuid not null,
    -- The try that runs, and until when nobody else may try. Both absent: none runs.
    attempt     uuid,
    held_until  timestamptz,
    -- The answer, once there is one that holds.
    status      integer,
    headers     jsonb,
    body        bytea,
    expires_at  timestamptz not null,
    primary key (team, target, key)
);
create index on idempotency (expires_at);
