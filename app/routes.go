package app

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/toolcrib/toolcrib/control"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/front"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/policy"
)

// Public is the access to what everybody may see.
const Public = "public"

// Route is something that the gateway serves beside the endpoints of MCP.
type Route struct {
	// Pattern is that of http.ServeMux.
	Pattern string
	// Access is the action that policies must permit for it, or Public.
	Access string

	serve http.HandlerFunc
}

// Routes are all that there are, without those of the management interface, which lists its own.
func Routes() []Route { return new(server).routes() }

func (s *server) routes() []Route {
	return []Route{
		{"GET /health", Public, s.alive},
		{"GET /healthz", Public, s.alive},
		{"GET /health/ready", Public, s.ready}, // all but the status takes ServersRead
		{"GET /readyz", Public, s.ready},
		{"GET /.well-known/jwks.json", Public, s.jwks}, // of what servers are told
		{"GET " + control.ClientDocument, Public, s.client},
		{"GET /metrics", control.ServersRead, s.scraped},
	}
}

var closing = []string{"close"}

// handler is every route there is. What is not an operator's is the front's, which refuses paths that no endpoint has.
func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range s.routes() {
		mux.Handle(r.Pattern, s.decided(r))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		managed := strings.HasPrefix(r.URL.Path, control.Prefix)
		if _, pattern := operators(mux, r); pattern == "" && !managed {
			s.front.ServeHTTP(w, r)
			return
		}
		if s.draining.Load() {
			w.Header()["Connection"] = closing // so that none is idle when they all end
		}
		if err := front.CheckOrigin(r, s.gw.Plan().Config, s.loopback); err != nil && (s.loopback || managed) {
			http.Error(w, err.Error(), errs.Of(err).Kind.HTTP())
			return
		}
		if managed {
			s.manage.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// operators spares requests to MCP endpoints the search through the routes.
func operators(mux *http.ServeMux, r *http.Request) (http.Handler, string) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return nil, ""
	}
	return mux.Handler(r)
}

// decided serves a route to those who may use it.
func (s *server) decided(route Route) http.Handler {
	if route.Access == Public {
		return route.serve
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.permitted(r, route.Access); err != nil {
			e, from := errs.Of(err), identity.RequestOf(r, "")
			if challenge := s.gw.Callers().Challenge(err, &from); challenge != nil {
				w.Header()["Www-Authenticate"] = challenge
			}
			if e.RetryAfter > 0 {
				w.Header().Set("Retry-After", strconv.FormatInt(int64((e.RetryAfter+time.Second-1)/time.Second), 10))
			}
			http.Error(w, err.Error(), e.Kind.HTTP())
			return
		}
		route.serve(w, r)
	})
}

// permitted tells why the caller may not do what takes an action; nil where it may. A gateway without authentication and
// policies shows its operation to whoever can reach it.
func (s *server) permitted(r *http.Request, action string) error {
	from := identity.RequestOf(r, "")
	leave, err := s.gw.Knock(r.Context(), &from)
	if err != nil {
		return err
	}
	defer leave()
	who, err := s.gw.Callers().Identify(r.Context(), &from)
	policies := s.gw.Plan().Policies
	switch {
	case err != nil:
		return err
	case !policies.Enforced() || policies.View(who).MayManage(action, &policy.Facts{Now: time.Now(), Address: from.Remote.Addr()}).Allowed:
		return nil
	case who == identity.Anonymous:
		return errs.E("identify", errs.Unauthenticated, "this takes a credential that may do %s; send Authorization: Bearer KEY", action)
	}
	return errs.E("authorize", errs.Forbidden, "%s of tenant %s may not see this: it takes %s; give the key the role auditor, "+
		"or one of policies.roles that has %s in manage", who.Subject, who.Tenant, action, action)
}

// jwksAge is how long the keys may be kept: a server that finds a statement under another one asks again.
const jwksAge = "public, max-age=300"

func (s *server) jwks(w http.ResponseWriter, _ *http.Request) {
	set, err := s.gw.JWKS()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", jwksAge)
	_, _ = w.Write(set) // a client that is gone needs no answer
}

func (s *server) scraped(w http.ResponseWriter, r *http.Request) { s.metrics.Handler().ServeHTTP(w, r) }

// client is who toolcrib login is, for authorization servers that take an address for the id of a client. Only an address with
// TLS can be one.
func (s *server) client(w http.ResponseWriter, r *http.Request) {
	base := strings.TrimRight(s.gw.Plan().Config.PublicURL, "/")
	if base == "" && r.TLS != nil {
		base = "https://" + r.Host
	}
	if !strings.HasPrefix(base, "https://") {
		http.NotFound(w, r)
		return
	}
	c := control.LoginClient(base+control.ClientDocument, "http://127.0.0.1"+control.RedirectPath, "http://localhost"+control.RedirectPath)
	writeJSON(w, http.StatusOK, c)
}
