package gateway

import (
	"bytes"

	"github.com/toolcrib/toolcrib/mcp"
)

// notice is a message to watching clients, prepared so that only the subscription's id is to be put in.
type notice struct {
	before, after []byte // the event for a modern client, around the id
	plain         []byte // the event for a legacy client
}

const subscriptionID = `"io.modelcontextprotocol/subscriptionId":`

// hole stands in for the id while a notice is prepared; no message can have it.
var hole = []byte{0}

// newNotice prepares a message of a server. What its params hold passes as it is, but for the id in _meta.
func newNotice(n *mcp.Raw) *notice {
	var modern, legacy mcp.Edits
	member := append([]byte(subscriptionID), hole...)
	switch id, meta := n.Meta[mcp.MetaSubscriptionID], n.Get(mcp.KeyMeta); {
	case id.Present():
		modern.Replace(id.Span, hole)
		legacy.Remove(n.Body, id)
	case meta.Present():
		modern.Insert(n.Body, meta, member)
	case n.Payload.Present():
		modern.Insert(n.Body, n.Payload, bytes.Join([][]byte{[]byte(`"_meta":{`), member, {'}'}}, nil))
	default:
		whole := mcp.Span{Start: int32(bytes.IndexByte(n.Body, '{')), End: int32(len(n.Body))}
		modern.Insert(n.Body, whole, bytes.Join([][]byte{[]byte(`"params":{"_meta":{`), member, []byte("}}")}, nil))
	}
	var out notice
	event := mcp.AppendEvent(nil, modern.Append(nil, n.Body))
	out.before, out.after, _ = bytes.Cut(event, hole)
	out.plain = mcp.AppendEvent(nil, legacy.Append(nil, n.Body))
	return &out
}

// ownNotice prepares a message of the gateway itself.
func ownNotice(body []byte) *notice {
	n := mcp.Raw{Body: body}
	if e := n.Scan(mcp.Limits{Bytes: len(body)}); e != nil {
		panic("gateway: notice of its own is not valid: " + e.Message)
	}
	return newNotice(&n)
}

// append appends the event; without an id, that for a legacy client.
func (n *notice) append(b, id []byte) []byte {
	if id == nil {
		return append(b, n.plain...)
	}
	return append(append(append(b, n.before...), id...), n.after...)
}

// listNotices tell that lists changed, by bit of upstream.Lists.
var listNotices = func() (all [len(listMethods)]*notice) {
	for i, m := range listMethods {
		all[i] = ownNotice([]byte(`{"jsonrpc":"2.0","method":"` + m.String() + `"}`))
	}
	return all
}()

// updatedNotice tells that a resource may have changed.
func updatedNotice(uri string) *notice {
	b := mcp.AppendString([]byte(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":`), uri)
	return ownNotice(append(b, "}}"...))
}
