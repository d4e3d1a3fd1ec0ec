-- What the menu was last seen to be: tiers, as they are now. Can be rebuilt from the cluster at any time.
create table resource_record (
    kind             text not null,
    name             text not null,
    resource_version bigint not null,
    resource         jsonb not null,
    primary key (kind, name)
);
