"""Creates a database, finds it in the list and reads it, with the client that is generated from the contract."""

import os
import ssl
import sys

from daap_client import AuthenticatedClient
from daap_client.api.databases import create_database, get_database, list_databases
from daap_client.models import Database, DatabaseList, NewDatabase, Problem


def main(name: str, tier: str) -> None:
    context = ssl.create_default_context(cafile=os.environ["DAAP_CA"])
    with AuthenticatedClient(
        base_url=os.environ["DAAP_URL"],
        token=os.environ["DAAP_KEY"],
        verify_ssl=context,
    ) as client:
        created = create_database.sync(client=client, body=NewDatabase(name=name, tier=tier))
        assert isinstance(created, Database), created

        listed = list_databases.sync(client=client, limit=200, tier=tier)
        assert isinstance(listed, DatabaseList), listed
        assert created.id in [database.id for database in listed.items], listed

        found = get_database.sync(str(created.id), client=client)
        assert isinstance(found, Database), found
        assert (found.name, found.tier, found.created_at) == (name, tier, created.created_at)

        refused = create_database.sync(client=client, body=NewDatabase(name=name, tier=tier))
        assert isinstance(refused, Problem) and refused.code == "name-taken", refused


main(*sys.argv[1:])
