package upstream

import "github.com/toolcrib/toolcrib/mcp"

// Lists are kinds of lists whose changes a server tells.
type Lists uint8

// The kinds of lists.
const (
	ListTools Lists = 1 << iota
	ListPrompts
	ListResources
)

// AllLists are all kinds.
const AllLists = ListTools | ListPrompts | ListResources

// ListOf is the kind of list that a change notice is about; 0 when it is about none.
func ListOf(changed mcp.Method) Lists {
	switch changed {
	case mcp.MethodToolsChanged:
		return ListTools
	case mcp.MethodPromptsChanged:
		return ListPrompts
	case mcp.MethodResourcesChanged:
		return ListResources
	}
	return 0
}

// Wish is what a server is to be watched for: changes of its lists, updates of resources, and of tasks by their ids.
type Wish struct {
	Lists Lists    `json:"lists,omitempty"`
	URIs  []string `json:"uris,omitempty"`
	Tasks []string `json:"tasks,omitempty"`
}

// tells are the kinds of lists of which the server says that it tells changes, and whether it takes subscriptions to resources.
// One that declared nothing at all is taken to do both.
func (p *Peer) tells() (lists Lists, subscribe bool) {
	if len(p.Capabilities) == 0 {
		return AllLists, true
	}
	for _, k := range [...]struct {
		name string
		list Lists
	}{{"tools", ListTools}, {"prompts", ListPrompts}, {"resources", ListResources}} {
		ok, inner := member(p.Capabilities, k.name)
		if !ok {
			continue
		}
		if isTrue(inner, "listChanged") {
			lists |= k.list
		}
		subscribe = subscribe || k.list == ListResources && isTrue(inner, "subscribe")
	}
	return lists, subscribe
}

func isTrue(object []byte, name string) bool {
	f, err := mcp.Lookup(object, mcp.Span{End: int32(len(object))}, name)
	return err == nil && string(f.Of(object)) == "true"
}

// limitTo is the part of a wish that a server can be asked for.
func (wish Wish) limitTo(p *Peer) Wish {
	lists, subscribe := p.tells()
	wish.Lists &= lists
	if !subscribe {
		wish.URIs = nil
	}
	if !p.Modern {
		wish.Tasks = nil // they are told without being asked for
	}
	return wish
}

func (wish Wish) empty() bool { return wish.Lists == 0 && len(wish.URIs)+len(wish.Tasks) == 0 }
