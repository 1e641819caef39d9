package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"

	"github.com/toolcrib/toolcrib/errs"
)

const factKind = "fact"

// hashed stands for a name in the store: names may be session ids, which open something.
func hashed(name string) string {
	sum := sha256.Sum256([]byte(name))
	return base64.RawURLEncoding.EncodeToString(sum[:18])
}

// Put keeps a field of a key until it expires.
func (n *Node) Put(ctx context.Context, key, field, value string, expires time.Time) error {
	if len(key) > maxName || len(field) > maxName || len(value) > MaxValue {
		return errs.E("cluster", errs.TooLarge, "a fact of %d bytes under a name of %d is over what replicas share: %d and %d",
			len(value), max(len(key), len(field)), MaxValue, maxName)
	}
	ttl := time.Until(expires)
	if ttl <= 0 {
		return n.Drop(ctx, key, field)
	}
	plain := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(field)+len(value)), uint16(len(field)))
	plain = append(append(plain, field...), value...)
	sealed := n.o.Ring().SealBytes(factKind, []byte(hashed(key)), plain, ttl)
	err := n.o.Backend.Put(ctx, hashed(key), hashed(field), string(sealed), expires)
	if errors.Is(err, ErrFull) {
		return errs.E("cluster", errs.Overloaded, "%w: at most %d facts of one session", ErrFull, MaxFields)
	}
	return said(err, "")
}

// Drop forgets a field of a key.
func (n *Node) Drop(ctx context.Context, key, field string) error {
	return said(n.o.Backend.Drop(ctx, hashed(key), hashed(field)), "")
}

// Facts are all fields of a key. What was put there with keys that are not in the ring, or has expired, is left out.
func (n *Node) Facts(ctx context.Context, key string) (map[string]string, error) {
	sealed, err := n.o.Backend.Facts(ctx, hashed(key))
	if err != nil {
		return nil, said(err, "")
	}
	facts, now, ring := make(map[string]string, len(sealed)), time.Now(), n.o.Ring()
	for name, text := range sealed {
		plain, err := ring.OpenBytes(factKind, []byte(hashed(key)), []byte(text), now)
		if err != nil || len(plain) < 2 {
			continue
		}
		size, plain := int(binary.BigEndian.Uint16(plain)), plain[2:]
		if len(plain) >= size && hashed(string(plain[:size])) == name {
			facts[string(plain[:size])] = string(plain[size:])
		}
	}
	return facts, nil
}
