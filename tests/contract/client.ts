// Creates a database, finds it in the list and reads it, with the client that is generated from the contract.

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./daap.ts";

const [name, tier] = process.argv.slice(2);
const { DAAP_URL, DAAP_KEY } = process.env;
assert(name && tier && DAAP_URL && DAAP_KEY);

const client = createClient<paths>({
  baseUrl: DAAP_URL,
  headers: { Authorization: `Bearer ${DAAP_KEY}` },
});

const created = await client.POST("/databases", { body: { name, tier } });
assert(created.data, JSON.stringify(created.error));
const database: components["schemas"]["Database"] = created.data;

const listed = await client.GET("/databases", { params: { query: { limit: 200, tier } } });
assert(listed.data, JSON.stringify(listed.error));
assert(listed.data.items.some(({ id }) => id === database.id));

const found = await client.GET("/databases/{id}", { params: { path: { id: database.id } } });
assert(found.data, JSON.stringify(found.error));
assert.deepEqual([found.data.name, found.data.tier, found.data.created_at], [name, tier, database.created_at]);

const refused = await client.POST("/databases", { body: { name, tier } });
assert.equal(refused.error?.code, "name-taken");
