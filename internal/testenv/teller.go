package testenv

import (
	"encoding/json"
	"maps"
	"slices"
	"sync"
)

// Teller is the part of a scripted server that tells of changes, in the way of its era and transport.
type Teller struct {
	// Refuse are URIs that the server takes no subscription to.
	Refuse []string
	// NoStream has a legacy HTTP server offer no GET stream.
	NoStream bool

	mu      sync.Mutex
	listens map[*Call]Filter
	streams map[*Call]bool
	server  *Server
	subs    map[string]bool
	ended   chan struct{} // closed by EndStreams
}

// Filter is that of a listen.
type Filter struct {
	Tools     bool     `json:"toolsListChanged,omitempty"`
	Prompts   bool     `json:"promptsListChanged,omitempty"`
	Resources bool     `json:"resourcesListChanged,omitempty"`
	URIs      []string `json:"resourceSubscriptions,omitempty"`
	Tasks     []string `json:"taskIds,omitempty"`
}

// TellingCapabilities are those of a server that tells of all changes.
const TellingCapabilities = `{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"listChanged":true,"subscribe":true}}`

// Telling gives a script a teller.
func (t *Teller) Telling(s Script) Script {
	t.listens, t.streams, t.subs, t.ended = map[*Call]Filter{}, map[*Call]bool{}, map[string]bool{}, make(chan struct{})
	if s.Capabilities == "" {
		s.Capabilities = TellingCapabilities
	}
	on := map[string]func(*Call){
		"subscriptions/listen": t.listen, "resources/subscribe": t.subscribe, "resources/unsubscribe": t.unsubscribe,
		"initialize": func(c *Call) { t.know(c.Server); c.Default() },
	}
	if !t.NoStream {
		on["GET"] = t.stream
	}
	maps.Copy(on, s.On)
	s.On = on
	return s
}

func (t *Teller) know(s *Server) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.server = s
}

func (t *Teller) over() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ended
}

// listen is the modern way.
func (t *Teller) listen(c *Call) {
	var f Filter
	if err := json.Unmarshal([]byte(c.Param("notifications")), &f); err != nil {
		c.Error(-32602, "no filter")
		return
	}
	for _, u := range f.URIs {
		if slices.Contains(t.Refuse, u) {
			c.Error(-32602, "cannot be subscribed to: "+u)
			return
		}
	}
	over := t.over()
	b, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	t.mu.Lock() // whoever was acknowledged is told
	c.Before(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":` + string(b) +
		`,"_meta":{"` + metaPrefix + `subscriptionId":` + c.ID + `}}}`)
	t.listens[c] = f
	t.mu.Unlock()
	select {
	case <-c.Done:
	case <-over:
	}
	t.mu.Lock()
	delete(t.listens, c)
	t.mu.Unlock()
	c.Complete(`"_meta":{"` + metaPrefix + `subscriptionId":` + c.ID + `}`)
}

// stream is the way of a legacy HTTP server.
func (t *Teller) stream(c *Call) {
	over := t.over()
	t.mu.Lock()
	c.HTTP.Events(": open\n\n")
	t.streams[c] = true
	t.mu.Unlock()
	select {
	case <-c.Done:
	case <-over:
	}
	t.mu.Lock()
	delete(t.streams, c)
	t.mu.Unlock()
}

func (t *Teller) subscribe(c *Call) {
	var uri string
	_ = json.Unmarshal([]byte(c.Param("uri")), &uri) // what is none is refused
	if uri == "" || slices.Contains(t.Refuse, uri) {
		c.Error(-32602, "cannot be subscribed to")
		return
	}
	t.mu.Lock()
	t.subs[uri] = true
	t.mu.Unlock()
	c.Complete("")
}

func (t *Teller) unsubscribe(c *Call) {
	var uri string
	_ = json.Unmarshal([]byte(c.Param("uri")), &uri) // as above
	t.mu.Lock()
	delete(t.subs, uri)
	t.mu.Unlock()
	c.Complete("")
}

// Watched is what the server is watched for: how many streams or listens are open, and which resources.
func (t *Teller) Watched() (open int, uris []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := maps.Clone(t.subs)
	for _, f := range t.listens {
		for _, u := range f.URIs {
			all[u] = true
		}
	}
	return len(t.listens) + len(t.streams), slices.Sorted(maps.Keys(all))
}

// EndStreams has the server end every listen and stream that is open, as it does when it is about to stop.
func (t *Teller) EndStreams() {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.ended)
	t.ended = make(chan struct{})
}

// Changed tells that a list changed: "tools", "prompts" or "resources".
func (t *Teller) Changed(list string) {
	t.tell("notifications/"+list+"/list_changed", "", func(f Filter) bool {
		return map[string]bool{"tools": f.Tools, "prompts": f.Prompts, "resources": f.Resources}[list]
	})
}

// Updated tells that a resource changed; more are raw members of params, each with its comma before it.
func (t *Teller) Updated(uri, more string) {
	t.tell("notifications/resources/updated", `"uri":"`+uri+`"`+more, func(f Filter) bool { return slices.Contains(f.URIs, uri) })
}

// Task tells how a task stands; members are the raw ones of params.
func (t *Teller) Task(id, members string) {
	t.tell("notifications/tasks", members, func(f Filter) bool { return slices.Contains(f.Tasks, id) })
}

func (t *Teller) tell(method, members string, wanted func(Filter) bool) {
	t.mu.Lock()
	defer t.mu.Unlock() // no handler returns while its answer is written
	listens, streams, server := t.listens, t.streams, t.server
	comma := ""
	if members != "" {
		comma = ","
	}
	for c, f := range listens {
		if wanted(f) {
			c.Before(`{"jsonrpc":"2.0","method":"` + method + `","params":{` + members + comma +
				`"_meta":{"` + metaPrefix + `subscriptionId":` + c.ID + `}}}`)
		}
	}
	plain := `{"jsonrpc":"2.0","method":"` + method + `","params":{` + members + `}}`
	for c := range streams {
		c.Before(plain)
	}
	if server == nil {
		return
	}
	for _, l := range server.Lines() {
		l.say(plain)
	}
	if server.stdio == nil {
		return
	}
	if all := server.Children(); len(all) > 0 {
		all[len(all)-1].Print(plain + "\n")
	}
}
