package control

// ClientDocument is where a gateway has the document about the OAuth client that toolcrib login is
// (draft-ietf-oauth-client-id-metadata-document).
const ClientDocument = "/.well-known/toolcrib-client.json"

// RedirectPath is the path of the loopback address that codes come to; its port is another each time (RFC 8252 section 7.3).
const RedirectPath = "/callback"

// OAuthClient is an OAuth client, as it is registered (RFC 7591 section 2).
type OAuthClient struct {
	ID           string   `json:"client_id,omitempty"`
	Name         string   `json:"client_name"`
	RedirectURIs []string `json:"redirect_uris"`
	GrantTypes   []string `json:"grant_types"`
	Responses    []string `json:"response_types"`
	AuthMethod   string   `json:"token_endpoint_auth_method"`
	Application  string   `json:"application_type"`
}

// LoginClient is the client that toolcrib login is.
func LoginClient(id string, redirects ...string) *OAuthClient {
	return &OAuthClient{
		ID: id, Name: "toolcrib command line", RedirectURIs: redirects, GrantTypes: []string{"authorization_code", "refresh_token"},
		Responses: []string{"code"}, AuthMethod: "none", Application: "native",
	}
}
