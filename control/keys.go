package control

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/toolcrib/toolcrib/audit"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/store"
)

// Key is a managed key, without its secret.
type Key struct {
	ID            string            `json:"id"`
	Name          string            `json:"name"`
	Tenant        string            `json:"tenant"`
	Groups        []string          `json:"groups,omitempty"`
	Roles         []string          `json:"roles,omitempty"`
	Scopes        []string          `json:"scopes,omitempty"`
	Attributes    map[string]string `json:"attributes,omitempty"`
	State         string            `json:"state"` // active or expired
	Created       time.Time         `json:"created"`
	Creator       string            `json:"creator"`
	Rotated       time.Time         `json:"rotated,omitzero"`
	PreviousUntil time.Time         `json:"previousUntil,omitzero"`
	Expires       time.Time         `json:"expires,omitzero"`
	Used          time.Time         `json:"used,omitzero"`
}

// NewKey is what a key is made of.
type NewKey struct {
	Name       string            `json:"name"`
	Tenant     string            `json:"tenant,omitempty"`
	Groups     []string          `json:"groups,omitempty"`
	Roles      []string          `json:"roles,omitempty"`
	Scopes     []string          `json:"scopes,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Expires    time.Time         `json:"expires,omitzero"`
}

// MadeKey is a key with its secret, which is shown this once.
type MadeKey struct {
	Key
	Secret string `json:"key"`
	// Notice is what its maker should know, such as that the gateway serves callers without a key as well.
	Notice string `json:"notice,omitempty"`
}

// Rotation says how a key gets another secret.
type Rotation struct {
	// OverlapSeconds is for how long the secret it has now is good besides.
	OverlapSeconds int64 `json:"overlapSeconds"`
}

// Keys are the keys that the caller may see.
type Keys struct {
	Keys []Key `json:"keys"`
}

const (
	labelMost   = 256 // runes, as in auth.apiKeys
	listMost    = 64
	lastYear    = 9999 // that JSON can write
	overlapMost = 30 * 24 * time.Hour
	// What the key has that the first start makes.
	firstName    = "admin"
	firstCreator = "first start"
	firstTenant  = "default"
	adminRole    = "admin"
)

// FirstKey is the key of the first start: with it all others are made.
func FirstKey(now time.Time) (k *store.Key, secret string) {
	k = &store.Key{ID: store.NewID(), Name: firstName, Tenant: firstTenant, Roles: []string{adminRole}, Created: now, Creator: firstCreator}
	secret = store.NewToken(k.ID)
	k.Digest = store.DigestOf(secret)
	return k, secret
}

func (a *API) shownKey(k *store.Key) Key {
	state := "active"
	if !k.Live(a.o.Now()) {
		state = "expired"
	}
	until := k.PreviousUntil
	if !until.After(a.o.Now()) {
		until = time.Time{}
	}
	return Key{
		ID: k.ID, Name: k.Name, Tenant: k.Tenant, Groups: k.Groups, Roles: k.Roles, Scopes: k.Scopes, Attributes: k.Attributes, State: state,
		Created: k.Created, Creator: k.Creator, Rotated: k.Rotated, PreviousUntil: until, Expires: k.Expires, Used: k.Used,
	}
}

func (a *API) listKeys(q *asked) (any, error) {
	all, err := a.o.Store.Keys(q.Context())
	if err != nil {
		return nil, err
	}
	list := Keys{Keys: []Key{}}
	for _, k := range all {
		if q.sees(k) {
			list.Keys = append(list.Keys, a.shownKey(k))
		}
	}
	return list, nil
}

// sees tells whether the caller may know of a key: one of its own tenant, unless it is an admin.
func (q *asked) sees(k *store.Key) bool { return k.Tenant == q.who.Tenant || q.admin() }

// key is the one that the path names. One that the caller may not know of looks like none.
func (a *API) key(q *asked) (*store.Key, error) {
	id := q.PathValue("id")
	q.target = id
	k, err := a.o.Store.Key(q.Context(), id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	if err != nil || !k.Revoked.IsZero() || !q.sees(k) {
		p := problem(http.StatusNotFound, "there is no such key").do("toolcrib keys list shows those there are")
		p.Field, p.Value = "id", id[:min(len(id), valueMost)]
		if err == nil && k.Revoked.IsZero() {
			p.rule = "the key is of another tenant"
		}
		return nil, p
	}
	q.about = keyFacts(k)
	return k, nil
}

// keyFacts are what records tell of a key.
func keyFacts(k *store.Key) []audit.Fact {
	facts := []audit.Fact{fact("key_name", k.Name), fact("key_tenant", k.Tenant)}
	if len(k.Roles) > 0 {
		facts = append(facts, fact("key_roles", k.Roles))
	}
	return facts
}

func fact(name string, v any) audit.Fact {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // texts and lists of them
	}
	return audit.Fact{Name: name, JSON: string(b)}
}

func (a *API) getKey(q *asked) (any, error) {
	k, err := a.key(q)
	if err != nil {
		return nil, err
	}
	return a.shownKey(k), nil
}

func (a *API) createKey(q *asked) (any, error) {
	var want NewKey
	if err := q.decode(&want); err != nil {
		return nil, err
	}
	want.Tenant = cmp.Or(want.Tenant, q.who.Tenant)
	k := &store.Key{
		ID: store.NewID(), Name: want.Name, Tenant: want.Tenant, Groups: want.Groups, Roles: want.Roles, Scopes: want.Scopes,
		Attributes: want.Attributes, Expires: want.Expires.UTC(), Created: a.now(), Creator: q.who.Key(),
	}
	if want.Expires.IsZero() {
		k.Expires = time.Time{}
	}
	if !q.admin() {
		q.inherit(k)
	}
	secret := store.NewToken(k.ID)
	k.Digest = store.DigestOf(secret)
	q.target, q.about = k.ID, keyFacts(k)
	if err := a.check(k); err != nil {
		return nil, err
	}
	if err := a.mayGive(q, k); err != nil {
		return nil, err
	}
	if err := a.configured(k); err != nil {
		return nil, err
	}
	if err := a.o.Store.AddKey(q.Context(), k); err != nil {
		return nil, taken(k, err)
	}
	a.changed(q)
	return MadeKey{Key: a.shownKey(k), Secret: secret, Notice: a.openness()}, nil
}

// configured refuses a key that would be somebody of the configuration: records and policies could not tell the two apart.
func (a *API) configured(k *store.Key) error {
	if a.o.Config == nil {
		return nil
	}
	for _, c := range a.o.Config().Auth.APIKeys {
		if c.Name == k.Name && cmp.Or(c.Tenant, firstTenant) == k.Tenant {
			p := problem(http.StatusConflict, "tenant %s has a key of that name in auth.apiKeys", k.Tenant)
			p.Field, p.Value = "name", k.Name
			return p.do("take another name, or remove that one from the configuration first")
		}
	}
	return nil
}

// openness says that keys keep nobody out, where that is so.
func (a *API) openness() string {
	if a.o.Config == nil || !a.o.Config().Auth.Open() {
		return ""
	}
	return "this gateway also serves callers without a credential; keys of the store do not close it: set auth.anonymous: deny"
}

func taken(k *store.Key, err error) error {
	if errors.Is(err, store.ErrFull) {
		return problem(http.StatusConflict, "there are %d keys, and no more can be kept", store.KeysMost).do("revoke those that nobody uses any more")
	}
	if !errors.Is(err, store.ErrTaken) {
		return err
	}
	p := problem(http.StatusConflict, "tenant %s has a key of that name", k.Tenant)
	p.Field, p.Value = "name", k.Name
	return p.do("rotate that one, revoke it first, or take another name")
}

func (a *API) changed(q *asked) {
	if a.o.Changed != nil {
		a.o.Changed(q.Context())
	}
}

// check refuses what nobody could have meant.
func (a *API) check(k *store.Key) error {
	if err := checkLabel("name", k.Name); err != nil {
		return err
	}
	if err := checkLabel("tenant", k.Tenant); err != nil {
		return err
	}
	for _, list := range []struct {
		field  string
		values []string
	}{{"groups", k.Groups}, {"roles", k.Roles}, {"scopes", k.Scopes}, {"attributes", slices.Sorted(maps.Keys(k.Attributes))}} {
		if len(list.values) > listMost {
			return wrong(list.field, strconv.Itoa(len(list.values)), "", "has more than %d entries", listMost)
		}
		for _, v := range list.values {
			if err := checkLabel(list.field, v); err != nil {
				return err
			}
		}
	}
	for name, v := range k.Attributes {
		if !utf8.ValidString(v) || utf8.RuneCountInString(v) > labelMost {
			return wrong("attributes."+name, v, "", "is not text of at most %d characters", labelMost)
		}
	}
	for _, role := range k.Roles {
		if !a.o.Policies().HasRole(role) {
			return wrong("roles", role, "add it to policies.roles, or name one of user, reader, auditor, admin", "there is no such role")
		}
	}
	if !k.Expires.IsZero() && !k.Expires.After(a.o.Now()) {
		return wrong("expires", k.Expires.Format(time.RFC3339), "name a time to come", "is past")
	}
	if k.Expires.Year() > lastYear {
		return wrong("expires", k.Expires.Format(time.RFC3339), "leave it out for a key that does not end", "is too far away")
	}
	return nil
}

func checkLabel(field, text string) *Problem {
	bad := strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
	if text == "" || bad || !utf8.ValidString(text) || utf8.RuneCountInString(text) > labelMost || strings.TrimSpace(text) != text {
		return wrong(field, text, "", "is not a name: names have 1 to %d printable characters, and no space around them", labelMost)
	}
	return nil
}

// inherit gives a key the facts of its maker that nobody named.
func (q *asked) inherit(k *store.Key) {
	if k.Groups == nil {
		k.Groups = q.who.Groups
	}
	if k.Attributes != nil {
		return
	}
	for name, v := range q.who.Attributes {
		if text, ok := v.(string); ok { // mayGive refuses what a key cannot have
			if k.Attributes == nil {
				k.Attributes = map[string]string{}
			}
			k.Attributes[name] = text
		}
	}
}

// mayEnd refuses to touch a key that can do more than the caller. What policies say of names nobody can know here: but an admin
// gives keys only names that begin with the giver's own and a slash.
func (q *asked) mayEnd(k *store.Key) error {
	if q.admin() {
		return nil
	}
	own := q.who
	switch {
	case k.Tenant != own.Tenant:
		return denied(wrong("tenant", k.Tenant, askAdmin, "is not your own tenant"))
	case !strings.HasPrefix(k.Name, own.Subject+"/"):
		return denied(wrong("name", k.Name, "begin it with "+strconv.Quote(own.Subject+"/")+", or "+askAdmin, "could be a name that policies give rights to"))
	}
	for _, list := range []struct {
		field     string
		want, has []string
	}{{"groups", k.Groups, own.Groups}, {"roles", k.Roles, q.view.Roles()}, {"scopes", k.Scopes, own.Scopes}} {
		if v, ok := beyond(list.want, list.has); ok {
			return denied(wrong(list.field, v, askAdmin, "is none that you have"))
		}
	}
	for name, v := range k.Attributes {
		if has, ok := own.Attributes[name].(string); !ok || has != v {
			return denied(wrong("attributes."+name, v, askAdmin, "is none that you have"))
		}
	}
	if !own.Expires.IsZero() && (k.Expires.IsZero() || k.Expires.After(own.Expires)) {
		return denied(wrong("expires", k.Expires.Format(time.RFC3339), askAdmin, "is after your own credential ends, %s", own.Expires.Format(time.RFC3339)))
	}
	return nil
}

const askAdmin = "ask somebody with the role admin"

// beyond is the first of some texts that is not among others.
func beyond(some, others []string) (text string, ok bool) {
	i := slices.IndexFunc(some, func(v string) bool { return !slices.Contains(others, v) })
	if i < 0 {
		return "", false
	}
	return some[i], true
}

// mayGive refuses the secret of a key that could do more than the caller. A key with fewer facts could: what is forbidden to a group
// is not to who is not in it. So it has all of its maker's, and where its name or kind makes a difference to a policy, it is refused.
func (a *API) mayGive(q *asked, k *store.Key) error {
	if q.admin() {
		return nil
	}
	if err := q.mayEnd(k); err != nil {
		return err
	}
	const lacks = "is missing: policies may forbid something to whoever has it"
	own := q.who
	if v, ok := beyond(own.Groups, k.Groups); ok {
		return denied(wrong("groups", v, "leave groups out, and the key has yours, or "+askAdmin, lacks))
	}
	for name := range own.Attributes {
		if _, ok := k.Attributes[name]; !ok {
			return denied(wrong("attributes."+name, "", "leave attributes out, and the key has yours as far as they are texts, or "+askAdmin, lacks))
		}
	}
	given := identity.Principal{Subject: k.Name, Tenant: k.Tenant, Groups: k.Groups, Roles: k.Roles, Scopes: k.Scopes, Method: identity.MethodAPIKey}
	for name, v := range k.Attributes {
		if given.Attributes == nil {
			given.Attributes = map[string]any{}
		}
		given.Attributes[name] = v
	}
	if rule := a.o.Policies().Exceeds(identity.Suppose(given), own); rule != "" {
		p := denied(problem(http.StatusForbidden, "the key could do what you may not: a policy makes a difference between you and it").do(askAdmin))
		p.rule += ": " + rule
		return p
	}
	return nil
}

func denied(p *Problem) *Problem {
	p.Status, p.Title, p.rule = http.StatusForbidden, http.StatusText(http.StatusForbidden), "nobody gives away what they have not got"
	return p
}

func (a *API) rotateKey(q *asked) (any, error) {
	var how Rotation
	if err := q.decode(&how); err != nil {
		return nil, err
	}
	overlap := time.Duration(how.OverlapSeconds) * time.Second
	if how.OverlapSeconds < 0 || how.OverlapSeconds > int64(overlapMost/time.Second) {
		return nil, wrong("overlapSeconds", strconv.FormatInt(how.OverlapSeconds, 10), "take 30 days or less",
			"is not from 0 to %d", int64(overlapMost/time.Second))
	}
	k, err := a.key(q)
	if err != nil {
		return nil, err
	}
	if err := a.mayGive(q, k); err != nil {
		return nil, err
	}
	secret, now := store.NewToken(k.ID), a.now()
	k, err = a.o.Store.RotateKey(q.Context(), k.ID, store.DigestOf(secret), now, now.Add(overlap))
	if err != nil {
		return nil, err
	}
	a.changed(q)
	return MadeKey{Key: a.shownKey(k), Secret: secret}, nil
}

func (a *API) revokeKey(q *asked) (any, error) {
	k, err := a.key(q)
	if err != nil {
		return nil, err
	}
	if err := q.mayEnd(k); err != nil {
		return nil, err
	}
	if k, err = a.o.Store.RevokeKey(q.Context(), k.ID, a.now()); err != nil {
		return nil, err
	}
	a.changed(q)
	return a.shownKey(k), nil
}

// now is the time as stores keep it.
func (a *API) now() time.Time { return a.o.Now().UTC().Truncate(time.Microsecond) }
