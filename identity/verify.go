package identity

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/toolcrib/toolcrib/errs"
)

// algorithms are those that an issuer can be configured with: none is symmetric, so that a public key is never taken for a
// shared secret, and none is "none".
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// token finds whose access token it is that was seen before: that costs a look-up.
func (v *Verifier) token(ctx context.Context, k *known, r *Request) (*Principal, error) {
	if k.key != nil && k.key.gone.Load() {
		return v.newToken(ctx, k.token, k.digest, r)
	}
	p, err := v.stands(ctx, k, r)
	if err != nil {
		return nil, tokenError(err)
	}
	return p, nil
}

// newToken finds whose access token it is that was not seen before, or not for long.
func (v *Verifier) newToken(ctx context.Context, token string, d digest, r *Request) (*Principal, error) {
	k, err := v.verify(ctx, strings.Clone(token), d)
	if err == nil {
		v.tokens.add(k)
		var p *Principal
		if p, err = v.stands(ctx, k, r); err == nil {
			return p, nil
		}
	}
	return nil, tokenError(err)
}

// tokenError is what the bearer of a token is told. Nothing of the token is in it but what names were not right.
func tokenError(err error) error {
	if away, ok := errors.AsType[*awayError](err); ok {
		e := errs.E(op, errs.Unavailable, "the access token cannot be checked now: %w; send the same request again later", away)
		e.RetryAfter = failedEvery
		return e
	}
	if _, ok := errors.AsType[*lacking](err); ok {
		return err
	}
	return errs.E(op, errs.Unauthenticated, "the access token is not accepted: %w", err)
}

// awayError says that an issuer could not be asked, so that nothing is known of a token.
type awayError struct{ issuer string }

func (e *awayError) Error() string { return fmt.Sprintf("issuer %q cannot be reached", e.issuer) }

// stands is the principal that a known token stands for, where it is used.
func (v *Verifier) stands(ctx context.Context, k *known, r *Request) (*Principal, error) {
	st, now := k.standing.Load(), v.a.now()
	if k.key != nil {
		k.issuer.source.refresh()
	}
	switch {
	case st.until.IsZero():
	case !now.Before(st.until):
		var err error
		if st, err = v.ask(ctx, k); err != nil {
			return nil, err
		}
	case now.Sub(st.asked) > st.until.Sub(st.asked)*3/4:
		v.askBehind(k)
	}
	switch {
	case st.err != nil:
		return nil, st.err
	case st.principal.over(now):
		return nil, fmt.Errorf("it expired at %s", st.principal.Expires.UTC().Format(time.RFC3339))
	}
	if k.issuer.audience == nil && !k.hasPassed(placeOf(r)) {
		if err := v.meant(k.issuer, st.audience, r); err != nil {
			return nil, err
		}
		k.pass(placeOf(r))
	}
	if st.lacks != nil {
		return nil, Lacking(st.lacks...)
	}
	return st.principal, nil
}

// verify verifies a token.
func (v *Verifier) verify(ctx context.Context, token string, d digest) (*known, error) {
	if strings.Count(token, ".") == 2 {
		if jws, err := jose.ParseSignedCompact(token, algorithms); err == nil {
			if !canonicalSignature(token) {
				return nil, errors.New("its signature is not in the one form of base64url that it has")
			}
			return v.verifyJWT(ctx, token, d, jws)
		} else if strings.HasPrefix(token, "ey") { // {" in base64url: no opaque token looks so by chance
			return nil, errors.New("it is no JWT that is signed with an asymmetric algorithm")
		}
	}
	is := v.opaque()
	if is == nil {
		return nil, errors.New("it is neither a JWT nor an API key that is known here")
	}
	k := &known{token: token, digest: d, issuer: is}
	answer, err := is.introspect.ask(ctx, k)
	if err != nil {
		return nil, err
	}
	k.claims = answer
	st := v.stand(k, answer)
	if st.err != nil {
		return nil, st.err
	}
	k.standing.Store(st)
	return k, nil
}

// canonicalSignature tells whether the signature of a JWT has no bits that say nothing: with those one token would be many, and who
// has ended one would not have ended the others.
func canonicalSignature(token string) bool {
	_, err := base64.RawURLEncoding.Strict().DecodeString(token[strings.LastIndexByte(token, '.')+1:])
	return err == nil
}

// opaque is the issuer that is asked about tokens that do not tell whose they are: the one that is asked about no others, or the
// only one that is asked. None else is to see them.
func (v *Verifier) opaque() *issuer {
	var only *issuer
	for _, is := range v.issuers {
		switch {
		case is.introspect == nil:
		case !is.Introspection.Always:
			return is
		case only != nil:
			return nil
		default:
			only = is
		}
	}
	return only
}

// verifyJWT verifies a JWT access token (RFC 9068 section 4).
func (v *Verifier) verifyJWT(ctx context.Context, token string, d digest, jws *jose.JSONWebSignature) (*known, error) {
	c, err := readClaims(jws.UnsafePayloadWithoutVerification())
	if err != nil {
		return nil, err
	}
	iss, _ := c["iss"].(string)
	is := v.issuerOf(iss)
	if is == nil {
		return nil, fmt.Errorf("its issuer %.200q is not one of auth.issuers", iss)
	}
	header := jws.Signatures[0].Header
	k := &known{token: token, digest: d, issuer: is, alg: header.Algorithm, claims: c}
	k.typ, _ = header.ExtraHeaders["typ"].(string)
	if err := is.takes(k); err != nil {
		return nil, err
	}
	if k.key, err = is.signer(ctx, jws); err != nil {
		return nil, err
	}
	st := v.stand(k, c)
	if st.err != nil {
		return nil, st.err
	}
	st.until = st.asked // nobody asked its issuer yet: what is not known of it must not count as an answer
	k.standing.Store(st)
	if is.always() {
		_, err = v.ask(ctx, k)
	}
	return k, err
}

func (v *Verifier) issuerOf(iss string) *issuer {
	for _, is := range v.issuers {
		if is.Issuer.Issuer == iss {
			return is
		}
	}
	return nil
}

func (is *issuer) always() bool { return is.introspect != nil && is.Introspection.Always }

// takes refuses what no signature makes an access token.
func (is *issuer) takes(k *known) error {
	if k.alg == "" { // it was asked about
		return nil
	}
	if !slices.Contains(is.Algorithms, k.alg) {
		return fmt.Errorf("it is signed by %.20q, which is not one of auth.issuers.algorithms", k.alg)
	}
	if k.claims["exp"] == nil {
		return errors.New("it has no exp, so that it would be valid forever")
	}
	return is.notAccess(k.typ, k.claims)
}

// signer finds the key that a token is signed with.
func (is *issuer) signer(ctx context.Context, jws *jose.JSONWebSignature) (*key, error) {
	header := &jws.Signatures[0].Header
	keys, err := is.source.candidates(ctx, header.KeyID, header.Algorithm)
	if err != nil {
		return nil, &awayError{is.Issuer.Issuer}
	}
	for _, k := range keys {
		if _, err := jws.Verify(k.public); err == nil {
			return k, nil
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("issuer %q has no key %.80q for %s", is.Issuer.Issuer, header.KeyID, header.Algorithm)
	}
	return nil, errors.New("its signature is wrong")
}

// stand is what a token stands for by these claims.
func (v *Verifier) stand(k *known, c claims) *standing {
	is := k.issuer
	st := &standing{audience: c.strings("aud")}
	if st.principal, st.err = is.check(c, v.a.now()); st.err != nil {
		return st
	}
	if is.audience != nil {
		if st.err = v.meant(is, st.audience, nil); st.err != nil {
			return st
		}
	}
	for _, scope := range is.Scopes {
		if !slices.Contains(st.principal.Scopes, scope) {
			st.lacks = is.requested()
		}
	}
	st.principal.proof = &proof{digest: k.digest, known: k}
	if is.introspect != nil && (k.key == nil || is.always()) {
		st.asked = v.a.now()
		st.until = st.asked.Add(is.introspect.keep)
	}
	return st
}

// ask has the issuer say whether a token is still good, and takes what it says.
func (v *Verifier) ask(ctx context.Context, k *known) (*standing, error) {
	is, was := k.issuer, k.standing.Load()
	answer, err := is.introspect.ask(ctx, k)
	if away, ok := errors.AsType[*awayError](err); ok {
		if was != nil && was.asked.Before(was.until) && v.a.now().Before(was.until) {
			return was, nil
		}
		return nil, away
	}
	var st *standing
	if err != nil {
		st = &standing{err: err, asked: v.a.now()}
		st.until = st.asked.Add(min(refusedKept, is.introspect.keep))
	} else if st = v.stand(k, merged(k, answer)); st.err != nil {
		st.asked = v.a.now()
		st.until = st.asked.Add(min(refusedKept, is.introspect.keep))
	}
	if was != nil && st.err == nil && was.err == nil {
		if same(st.principal, was.principal) {
			st.principal = was.principal
		}
		if !slices.Equal(st.audience, was.audience) {
			k.passed.Store(nil)
		}
	}
	k.standing.Store(st)
	return st, nil
}

// askBehind asks in the background, so that nobody has to wait for it.
func (v *Verifier) askBehind(k *known) {
	if !k.asking.CompareAndSwap(false, true) {
		return
	}
	if !v.a.background(func() {
		defer k.asking.Store(false)
		_, _ = v.ask(v.a.ctx, k) // while the issuer is away, what it said holds as long as it may
	}) {
		k.asking.Store(false)
	}
}

// merged are the claims of a token with what its issuer says of it now. What a signature stands for stays as it is.
func merged(k *known, answer claims) claims {
	if k.key == nil {
		return answer
	}
	all := make(claims, len(k.claims)+len(answer))
	maps.Copy(all, answer)
	for name, value := range k.claims {
		switch name {
		case "iss", "sub", "aud", "exp", "nbf", "iat", "jti":
			all[name] = value
		default:
			if _, said := answer[name]; !said {
				all[name] = value
			}
		}
	}
	return all
}
