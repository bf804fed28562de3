package admin

import (
	"net/http"
	"slices"
	"strings"

	"github.com/nightlatch/nightlatch/provider/event"
)

// route is one method of one path.
type route struct {
	method, path string
	run          func(*call) (any, error) // nil answers 204
	// resource is Keycloak's type of what the route changes; "" for one that
	// only reads.
	resource string
	query    []string // parameters that it takes
}

// event is the type of the event that tells of the change.
func (rt route) event() event.Type {
	switch {
	case rt.method == http.MethodPut:
		return event.AdminUpdate
	case rt.method == http.MethodDelete:
		return event.AdminDelete
	case rt.resource != realmKind && strings.Count(rt.path, "/") == 2: // a collection
		return event.AdminCreate
	}
	return event.AdminAction
}

// Resource types, in Keycloak's names.
const (
	realmKind    = "REALM"
	realmRole    = "REALM_ROLE"
	roleMapping  = "REALM_ROLE_MAPPING"
	scopeMapping = "REALM_SCOPE_MAPPING"
	userKind     = "USER"
	userSession  = "USER_SESSION"
	clientKind   = "CLIENT"
	clientScope  = "CLIENT_SCOPE"
	scopeOf      = "CLIENT_SCOPE_CLIENT_MAPPING"
)

var (
	paging = []string{"first", "max"}
	brief  = []string{"first", "max", "search", "briefRepresentation"}
	people = []string{"search", "username", "email", "firstName", "lastName", "exact", "enabled", "emailVerified",
		"first", "max", "briefRepresentation"}
)

// routes is the one list of what there is. {realm} is the realm's own name.
var routes = slices.Concat([]route{
	{get, "serverinfo", (*call).serverInfo, "", nil},
	{get, "realms", (*call).listRealms, "", []string{"briefRepresentation"}},
	{get, "realms/{realm}", (*call).getRealm, "", nil},
	{put, "realms/{realm}", (*call).putRealm, realmKind, nil},
	{post, "realms/{realm}/logout-all", (*call).logoutAll, realmKind, nil},
	{post, "realms/{realm}/push-revocation", (*call).pushRevocation, realmKind, nil},
	{get, "realms/{realm}/client-session-stats", (*call).clientSessionStats, "", nil},
	{get, "realms/{realm}/ui-ext/sessions/count", (*call).countSessions, "", nil},
	{get, "realms/{realm}/ui-ext/sessions", (*call).listSessions, "", []string{"first", "max", "type", "search"}},
	{get, "realms/{realm}/sessions/{session}", (*call).getSession, "", []string{"isOffline"}},
	{del, "realms/{realm}/sessions/{session}", (*call).deleteSession, userSession, []string{"isOffline"}},

	{get, "realms/{realm}/events", (*call).listEvents, "", []string{"type", "client", "user", "ipAddress", "dateFrom", "dateTo", "direction", "first", "max"}},
	{del, "realms/{realm}/events", (*call).deleteEvents, realmKind, nil},
	{get, "realms/{realm}/events/config", (*call).getEventsConfig, "", nil},
	{put, "realms/{realm}/events/config", (*call).putEventsConfig, realmKind, nil},
	{get, "realms/{realm}/admin-events", (*call).listAdminEvents, "", []string{"operationTypes", "authClient", "authUser", "authIpAddress", "dateFrom", "dateTo", "direction", "first", "max"}},
	{del, "realms/{realm}/admin-events", (*call).deleteAdminEvents, realmKind, nil},

	{get, "realms/{realm}/clients", (*call).listClients, "", []string{"clientId", "search", "first", "max", "viewableOnly"}},
	{post, "realms/{realm}/clients", (*call).createClient, clientKind, nil},
	{get, "realms/{realm}/clients/{client}", (*call).getClient, "", nil},
	{put, "realms/{realm}/clients/{client}", (*call).putClientBody, clientKind, nil},
	{del, "realms/{realm}/clients/{client}", (*call).deleteClient, clientKind, nil},
	{get, "realms/{realm}/clients/{client}/client-secret", (*call).getSecret, "", nil},
	{post, "realms/{realm}/clients/{client}/client-secret", (*call).newSecret, clientKind, nil},
	{get, "realms/{realm}/clients/{client}/service-account-user", (*call).serviceAccount, "", nil},
	{post, "realms/{realm}/clients/{client}/push-revocation", (*call).pushClientRevocation, clientKind, nil},
	{get, "realms/{realm}/clients/{client}/user-sessions", (*call).clientSessions, "", paging},
	{get, "realms/{realm}/clients/{client}/session-count", (*call).countClientSessions, "", nil},
	{get, "realms/{realm}/clients/{client}/offline-sessions", (*call).clientOffline, "", paging},
	{get, "realms/{realm}/clients/{client}/offline-sessions/search", (*call).searchClientOffline, "", []string{
		"user", "ipAddress", "issuedFrom", "issuedTo", "lastRefreshFrom", "lastRefreshTo", "after", "max"}},
	{del, "realms/{realm}/clients/{client}/offline-sessions", (*call).revokeClient, userSession, nil},
	{get, "realms/{realm}/clients/{client}/offline-session-count", (*call).countClientOffline, "", nil},
	{get, "realms/{realm}/clients/{client}/roles", (*call).clientRoles, "", brief},
	{post, "realms/{realm}/clients/{client}/roles", (*call).refuseClientRole, clientKind, nil},
	{get, "realms/{realm}/clients/{client}/default-client-scopes", defaultScopes.list, "", nil},
	{put, "realms/{realm}/clients/{client}/default-client-scopes/{scope}", defaultScopes.add, scopeOf, nil},
	{del, "realms/{realm}/clients/{client}/default-client-scopes/{scope}", defaultScopes.remove, scopeOf, nil},
	{get, "realms/{realm}/clients/{client}/optional-client-scopes", optionalScopes.list, "", nil},
	{put, "realms/{realm}/clients/{client}/optional-client-scopes/{scope}", optionalScopes.add, scopeOf, nil},
	{del, "realms/{realm}/clients/{client}/optional-client-scopes/{scope}", optionalScopes.remove, scopeOf, nil},

	{get, "realms/{realm}/users", (*call).listUsers, "", people},
	{post, "realms/{realm}/users", (*call).createUser, userKind, nil},
	{get, "realms/{realm}/users/count", (*call).countUsers, "", people},
	{get, "realms/{realm}/users/search", (*call).searchUsers, "", []string{"search", "after", "max"}},
	{get, "realms/{realm}/users/{user}", (*call).getUser, "", []string{"userProfileMetadata"}},
	{put, "realms/{realm}/users/{user}", (*call).putUserBody, userKind, nil},
	{del, "realms/{realm}/users/{user}", (*call).deleteUser, userKind, nil},
	{get, "realms/{realm}/users/{user}/credentials", (*call).listCredentials, "", nil},
	{put, "realms/{realm}/users/{user}/reset-password", (*call).resetPassword, userKind, nil},
	{post, "realms/{realm}/users/{user}/logout", (*call).logoutUser, userSession, nil},
	{get, "realms/{realm}/users/{user}/sessions", (*call).userSessions, "", paging},
	{get, "realms/{realm}/users/{user}/session-count", (*call).countUserSessions, "", nil},
	{get, "realms/{realm}/users/{user}/offline-sessions", (*call).userOfflineAll, "", paging},
	{del, "realms/{realm}/users/{user}/offline-sessions", (*call).revokeUser, userSession, nil},
	{get, "realms/{realm}/users/{user}/offline-session-count", (*call).countUserOffline, "", []string{"client"}},
	{get, "realms/{realm}/users/{user}/offline-sessions/{client}", (*call).userOffline, "", paging},
	{get, "realms/{realm}/users/{user}/consents", (*call).listConsents, "", nil},
	{del, "realms/{realm}/users/{user}/consents/{client}", (*call).withdrawConsent, userSession, nil},

	{get, "realms/{realm}/roles", (*call).listRoles, "", brief},
	{post, "realms/{realm}/roles", (*call).createRole, realmRole, nil},
	{get, "realms/{realm}/roles/{role}/users", (*call).usersInRole, "", []string{"first", "max", "briefRepresentation"}},

	{get, "realms/{realm}/client-scopes", (*call).listScopes, "", nil},
	{post, "realms/{realm}/client-scopes", (*call).createScope, clientScope, nil},
	{get, "realms/{realm}/client-scopes/{scope}", (*call).getScope, "", nil},
	{put, "realms/{realm}/client-scopes/{scope}", (*call).putScopeBody, clientScope, nil},
	{del, "realms/{realm}/client-scopes/{scope}", (*call).deleteScope, clientScope, nil},
	{get, "realms/{realm}/default-default-client-scopes", realmDefaultScopes.list, "", nil},
	{put, "realms/{realm}/default-default-client-scopes/{scope}", realmDefaultScopes.add, realmKind, nil},
	{del, "realms/{realm}/default-default-client-scopes/{scope}", realmDefaultScopes.remove, realmKind, nil},
	{get, "realms/{realm}/default-optional-client-scopes", realmOptionalScopes.list, "", nil},
	{put, "realms/{realm}/default-optional-client-scopes/{scope}", realmOptionalScopes.add, realmKind, nil},
	{del, "realms/{realm}/default-optional-client-scopes/{scope}", realmOptionalScopes.remove, realmKind, nil},
},
	roleRoutes("realms/{realm}/roles/{role}"),
	roleRoutes("realms/{realm}/roles-by-id/{id}"),
	mappingRoutes("realms/{realm}/users/{user}/role-mappings", rolesOfUser, roleMapping),
	mappingRoutes("realms/{realm}/clients/{client}/scope-mappings", rolesOfClient, scopeMapping),
	mappingRoutes("realms/{realm}/client-scopes/{scope}/scope-mappings", rolesOfScope, scopeMapping),
)

// roleRoutes are those of one role, by its name or its id.
func roleRoutes(path string) []route {
	return []route{
		{get, path, (*call).getRole, "", nil},
		{put, path, (*call).putRoleBody, realmRole, nil},
		{del, path, (*call).deleteRole, realmRole, nil},
		{get, path + "/composites", compositesOf.list, "", brief},
		{post, path + "/composites", compositesOf.add, roleMapping, nil},
		{del, path + "/composites", compositesOf.remove, roleMapping, nil},
		{get, path + "/composites/realm", compositesOf.list, "", nil},
		{get, path + "/composites/clients/{of}", compositesOf.ofClients, "", nil},
	}
}

// mappingRoutes are those of the roles that somebody or something was given.
func mappingRoutes(path string, l roleList, resource string) []route {
	return []route{
		{get, path, l.mappings, "", nil},
		{get, path + "/realm", l.list, "", nil},
		{post, path + "/realm", l.add, resource, nil},
		{del, path + "/realm", l.remove, resource, nil},
		{get, path + "/realm/available", l.available, "", paging},
		{get, path + "/realm/composite", l.effective, "", []string{"briefRepresentation"}},
		{get, path + "/clients/{of}", l.ofClients, "", nil},
		{get, path + "/clients/{of}/available", l.ofClients, "", nil},
		{get, path + "/clients/{of}/composite", l.ofClients, "", []string{"briefRepresentation"}},
	}
}

// Methods, as the table writes them.
const (
	get  = http.MethodGet
	post = http.MethodPost
	put  = http.MethodPut
	del  = http.MethodDelete
)
