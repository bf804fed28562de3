// Drives the administrators' REST by @keycloak/keycloak-admin-client, as its
// users do. The address of the server comes as an argument; the realm is the
// demo's. What it leaves behind, clients_test.go checks by other means.
import assert from "node:assert/strict";
import KcAdminClient, { NetworkError } from "@keycloak/keycloak-admin-client";

const baseUrl = process.argv[2];
const kc = new KcAdminClient({ baseUrl, realmName: "demo" });
await kc.auth({ username: "admin", password: "admin-demo", grantType: "password", clientId: "admin-cli" });

const fails = async (status, promise) => {
  const error = await promise.then(
    () => assert.fail(`want ${status}, got an answer`),
    (e) => e,
  );
  assert.ok(error instanceof NetworkError, String(error));
  assert.equal(error.response.status, status, JSON.stringify(error.responseData));
  return error.responseData;
};
const names = (list) => list.map((x) => x.name).sort();
// A token of a person at a client, by the direct access grant.
const login = async (client, username, password, scope) => {
  const answer = await fetch(`${baseUrl}/realms/demo/protocol/openid-connect/token`, {
    method: "POST",
    headers: { Authorization: "Basic " + btoa(`${client}:${client}-secret`) },
    body: new URLSearchParams({ grant_type: "password", username, password, scope }),
  });
  return { status: answer.status, ...(await answer.json()) };
};
const refresh = async (client, token) => {
  const answer = await fetch(`${baseUrl}/realms/demo/protocol/openid-connect/token`, {
    method: "POST",
    headers: { Authorization: "Basic " + btoa(`${client}:${client}-secret`) },
    body: new URLSearchParams({ grant_type: "refresh_token", refresh_token: token }),
  });
  return { status: answer.status, ...(await answer.json()) };
};

// Realm.
const realm = await kc.realms.findOne({ realm: "demo" });
assert.equal(realm.offlineSessionIdleTimeout, 2592000);
assert.equal((await kc.realms.find()).length, 1);
await kc.realms.update({ realm: "demo" }, { ...realm, ssoSessionIdleTimeout: 1200, displayName: "Demo" });
assert.equal((await kc.realms.findOne({ realm: "demo" })).ssoSessionIdleTimeout, 1200);
await fails(403, kc.realms.findOne({ realm: "another" }));
assert.ok((await kc.serverInfo.find()).systemInfo.version);

// Client scopes.
const scope = await kc.clientScopes.create({ name: "files.read", protocol: "openid-connect", description: "reads files" });
assert.equal((await kc.clientScopes.findOneByName({ name: "files.read" })).id, scope.id);
await kc.clientScopes.update({ id: scope.id }, { description: "reads all files" });
assert.equal((await kc.clientScopes.findOne({ id: scope.id })).description, "reads all files");
assert.ok(names(await kc.clientScopes.listDefaultClientScopes()).includes("profile"));
await kc.clientScopes.addDefaultOptionalClientScope({ id: scope.id });
assert.ok(names(await kc.clientScopes.listDefaultOptionalClientScopes()).includes("files.read"));
await kc.clientScopes.delDefaultOptionalClientScope({ id: scope.id });

// Roles.
assert.deepEqual(await kc.roles.create({ name: "archivist", description: "keeps" }), { roleName: "archivist" });
await fails(409, kc.roles.create({ name: "archivist" }));
const role = await kc.roles.findOneByName({ name: "archivist" });
const offlineRole = await kc.roles.findOneByName({ name: "offline_access" });
await kc.roles.createComposite({ roleId: role.id }, [offlineRole]);
assert.deepEqual(names(await kc.roles.getCompositeRoles({ id: role.id })), ["offline_access"]);
await kc.roles.updateById({ id: role.id }, { ...role, description: "keeps well" });
assert.equal((await kc.roles.findOneById({ id: role.id })).description, "keeps well");
assert.ok(names(await kc.roles.find()).includes("default-roles-demo"));
await kc.clientScopes.addRealmScopeMappings({ id: scope.id }, [role]);
assert.deepEqual(names(await kc.clientScopes.listRealmScopeMappings({ id: scope.id })), ["archivist"]);

// Clients.
const client = await kc.clients.create({
  clientId: "files", name: "Files", secret: "files-secret", directAccessGrantsEnabled: true, serviceAccountsEnabled: true,
  redirectUris: ["https://files.example.com/callback"], attributes: { "client.offline.session.idle.timeout": "86400" },
});
const [found] = await kc.clients.find({ clientId: "files" });
assert.equal(found.id, client.id);
await kc.clients.update({ id: client.id }, { ...found, description: "keeps files" });
assert.equal((await kc.clients.findOne({ id: client.id })).description, "keeps files");
assert.equal((await kc.clients.getClientSecret({ id: client.id })).value, "files-secret");
await fails(409, kc.clients.create({ clientId: "files" }));
const refused = await fails(400, kc.clients.create({ clientId: "x", protocol: "saml" }));
assert.equal(refused.field, "protocol");
const made = await kc.clients.create({ clientId: "made" });
const first = (await kc.clients.getClientSecret({ id: made.id })).value;
const second = (await kc.clients.generateNewClientSecret({ id: made.id })).value;
assert.ok(first && second && first !== second);
await kc.clients.addOptionalClientScope({ id: client.id, clientScopeId: scope.id });
assert.ok(names(await kc.clients.listOptionalClientScopes({ id: client.id })).includes("files.read"));
await kc.clients.addRealmScopeMappings({ id: client.id }, [role]);
assert.deepEqual(names(await kc.clients.listRealmScopeMappings({ id: client.id })), ["archivist"]);
assert.equal((await kc.clients.getServiceAccountUser({ id: client.id })).username, "service-account-files");
assert.deepEqual(await kc.clients.listRoles({ id: client.id }), []);

// Users.
const user = await kc.users.create({
  username: "gina", enabled: true, email: "gina@example.com", firstName: "Gina", credentials: [{ type: "password", value: "gina-1" }],
});
await fails(409, kc.users.create({ username: "gina" }));
assert.equal((await kc.users.find({ username: "gina", exact: true }))[0].id, user.id);
assert.equal((await kc.users.find({ search: "gin" })).length, 1);
assert.equal(await kc.users.count({ search: "gin" }), 1);
const gina = await kc.users.findOne({ id: user.id });
await kc.users.update({ id: user.id }, { ...gina, lastName: "Torres" });
assert.equal((await kc.users.findOne({ id: user.id })).lastName, "Torres");
await kc.users.resetPassword({ id: user.id, credential: { type: "password", value: "gina-2", temporary: false } });
await kc.users.addRealmRoleMappings({ id: user.id, roles: [{ id: role.id, name: role.name }] });
assert.deepEqual(names(await kc.users.listRealmRoleMappings({ id: user.id })), ["archivist", "default-roles-demo"]);
assert.ok(names(await kc.users.listCompositeRealmRoleMappings({ id: user.id })).includes("offline_access"));
assert.ok(names(await kc.users.listAvailableRealmRoleMappings({ id: user.id })).includes("realm-admin"));
assert.equal((await kc.users.listRoleMappings({ id: user.id })).realmMappings.length, 2);
assert.equal((await kc.roles.findUsersWithRole({ name: "archivist" }))[0].username, "gina");
assert.equal(await kc.users.findOne({ id: "nobody" }), null);

// Sessions and offline sessions.
assert.equal((await login("files", "gina", "gina-1", "openid")).status, 400);
const online = await login("files", "gina", "gina-2", "openid");
const offline = await login("files", "gina", "gina-2", "openid offline_access");
assert.equal(offline.status, 200);
assert.equal((await kc.users.listSessions({ id: user.id })).length, 1);
assert.equal((await kc.clients.listSessions({ id: client.id })).length, 1);
assert.equal((await kc.clients.getSessionCount({ id: client.id })).count, 1);
assert.equal((await kc.clients.getOfflineSessionCount({ id: client.id })).count, 1);
const listed = await kc.clients.listOfflineSessions({ id: client.id, first: 0, max: 10 });
assert.equal(listed.length, 1);
assert.equal(listed[0].username, "gina");
assert.equal(listed[0].clients[client.id], "files");
assert.equal((await kc.users.listOfflineSessions({ id: user.id, clientId: client.id })).length, 1);
const stats = await kc.realms.getClientSessionStats({ realm: "demo" });
assert.deepEqual(stats.find((s) => s.clientId === "files"), { id: client.id, clientId: "files", active: "1", offline: "1" });
const consents = await kc.users.listConsents({ id: user.id });
assert.deepEqual(consents[0].additionalGrants, [{ client: client.id, key: "Offline Token" }]);
assert.equal((await refresh("files", offline.refresh_token)).status, 200);
await kc.users.revokeConsent({ id: user.id, clientId: "files" });
assert.equal((await refresh("files", offline.refresh_token)).grant_status, "revoked");
await fails(404, kc.users.revokeConsent({ id: user.id, clientId: "files" }));

const another = await login("files", "gina", "gina-2", "offline_access");
const [session] = await kc.clients.listOfflineSessions({ id: client.id });
await kc.realms.deleteSession({ realm: "demo", session: session.id, isOffline: true });
assert.equal((await refresh("files", another.refresh_token)).grant_status, "revoked");
await kc.users.logout({ id: user.id });
assert.equal((await refresh("files", online.refresh_token)).status, 400);
assert.deepEqual(await kc.clients.pushRevocation({ id: client.id }), { successRequests: [], failedRequests: [] });
assert.deepEqual(await kc.realms.pushRevocation({ realm: "demo" }), { successRequests: [], failedRequests: [] });

// Events.
const events = await kc.realms.findEvents({ realm: "demo", type: ["REVOKE_GRANT"], client: "files" });
assert.equal(events.length, 1);
assert.equal(events[0].userId, user.id);
const adminEvents = await kc.realms.findAdminEvents({ realm: "demo", operationTypes: ["CREATE"] });
assert.ok(adminEvents.some((e) => e.resourcePath === `users/${user.id}` && e.authDetails.username === "admin"));
const config = await kc.realms.getConfigEvents({ realm: "demo" });
await kc.realms.updateConfigEvents({ realm: "demo" }, { ...config, eventsExpiration: 86400 });
assert.equal((await kc.realms.getConfigEvents({ realm: "demo" })).eventsExpiration, 86400);

// Taking away.
await kc.users.delRealmRoleMappings({ id: user.id, roles: [{ id: role.id, name: role.name }] });
await kc.clients.delRealmScopeMappings({ id: client.id }, [role]);
await kc.clients.delOptionalClientScope({ id: client.id, clientScopeId: scope.id });
await kc.roles.delCompositeRoles({ id: role.id }, [offlineRole]);
await kc.roles.delById({ id: role.id });
await kc.clientScopes.del({ id: scope.id });
await kc.clients.del({ id: made.id });
assert.equal(await kc.clients.findOne({ id: made.id }), null);
const [reports] = await kc.clients.find({ clientId: "reports" });
const declared = await fails(400, kc.clients.update({ id: reports.id }, { secret: "mine" }));
assert.match(declared.errorMessage, /declared in the Caddyfile/);

// A service account administrates too.
const account = await kc.clients.getServiceAccountUser({ id: client.id });
const admin = await kc.roles.findOneByName({ name: "realm-admin" });
await kc.users.addRealmRoleMappings({ id: account.id, roles: [{ id: admin.id, name: admin.name }] });
const robot = new KcAdminClient({ baseUrl, realmName: "demo" });
await robot.auth({ grantType: "client_credentials", clientId: "files", clientSecret: "files-secret" });
assert.equal((await robot.users.findOne({ id: user.id })).username, "gina");
await robot.users.update({ id: user.id }, { enabled: false });

// Everything at once, the administrator too.
await kc.realms.logoutAll({ realm: "demo" });
await fails(401, robot.users.find());
console.log("ok");
