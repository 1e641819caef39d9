package mcp

// Method is a method of the protocol, of either era.
type Method uint8

// The methods of both eras. MethodUnknown is every other name.
const (
	MethodUnknown Method = iota
	MethodInitialize
	MethodPing
	MethodDiscover
	MethodToolsList
	MethodToolsCall
	MethodPromptsList
	MethodPromptsGet
	MethodResourcesList
	MethodResourcesTemplatesList
	MethodResourcesRead
	MethodResourcesSubscribe
	MethodResourcesUnsubscribe
	MethodComplete
	MethodSetLevel
	MethodListen
	MethodTasksGet
	MethodTasksUpdate
	MethodTasksCancel
	MethodTasksResult
	MethodTasksList
	MethodElicit
	MethodSample
	MethodRootsList
	MethodInitialized
	MethodCancelled
	MethodProgress
	MethodLogMessage
	MethodRootsChanged
	MethodToolsChanged
	MethodPromptsChanged
	MethodResourcesChanged
	MethodResourceUpdated
	MethodListenAcknowledged
	MethodElicitComplete
	MethodTaskStatus
	MethodTaskChanged
	numMethods
)

// Facts says what the protocol fixes about a method.
type Facts struct {
	// Modern and Legacy name the eras that define the method: 2026-07-28 and
	// its extensions, 2025-11-25 and before.
	Modern, Legacy bool
	// FromClient and FromServer say who sends it. Both may.
	FromClient, FromServer bool
	// Notification says that it gets no answer.
	Notification bool
	// NameKey is the member of params that the Mcp-Name header mirrors
	// (2026-07-28 streamable-http "Standard Request Headers" and the tasks
	// extension), KeyNone when there is none.
	NameKey Key
	// Cacheable says that a complete result carries ttlMs and cacheScope
	// (2026-07-28 server/utilities/caching).
	Cacheable bool
	// List says that the result is a page of a list; ListKey is the member of
	// the result that holds its elements.
	List    bool
	ListKey Key
	// Tasks says that it is about a task that there is already.
	Tasks bool
}

var (
	both   = Facts{Modern: true, Legacy: true}
	modern = Facts{Modern: true}
	legacy = Facts{Legacy: true}
)

func (f Facts) client() Facts      { f.FromClient = true; return f }
func (f Facts) server() Facts      { f.FromServer = true; return f }
func (f Facts) note() Facts        { f.Notification = true; return f }
func (f Facts) cached() Facts      { f.Cacheable = true; return f }
func (f Facts) named(k Key) Facts  { f.NameKey = k; return f }
func (f Facts) listed(k Key) Facts { f.List, f.ListKey = true, k; return f }
func (f Facts) tasks() Facts       { f.Tasks = true; return f }

var methods = [numMethods]struct {
	name  string
	facts Facts
}{
	MethodInitialize:             {"initialize", legacy.client()},
	MethodPing:                   {"ping", legacy.client().server()},
	MethodDiscover:               {"server/discover", modern.client().cached()},
	MethodToolsList:              {"tools/list", both.client().cached().listed(KeyTools)},
	MethodToolsCall:              {"tools/call", both.client().named(KeyName)},
	MethodPromptsList:            {"prompts/list", both.client().cached().listed(KeyPrompts)},
	MethodPromptsGet:             {"prompts/get", both.client().named(KeyName)},
	MethodResourcesList:          {"resources/list", both.client().cached().listed(KeyResources)},
	MethodResourcesTemplatesList: {"resources/templates/list", both.client().cached().listed(KeyResourceTemplates)},
	MethodResourcesRead:          {"resources/read", both.client().cached().named(KeyURI)},
	MethodResourcesSubscribe:     {"resources/subscribe", legacy.client()},
	MethodResourcesUnsubscribe:   {"resources/unsubscribe", legacy.client()},
	MethodComplete:               {"completion/complete", both.client()},
	MethodSetLevel:               {"logging/setLevel", legacy.client()},
	MethodListen:                 {"subscriptions/listen", modern.client()},
	MethodTasksGet:               {"tasks/get", both.client().server().named(KeyTaskID).tasks()},
	MethodTasksUpdate:            {"tasks/update", modern.client().named(KeyTaskID).tasks()},
	MethodTasksCancel:            {"tasks/cancel", both.client().server().named(KeyTaskID).tasks()},
	MethodTasksResult:            {"tasks/result", legacy.client().server().tasks()},
	MethodTasksList:              {"tasks/list", legacy.client().server().listed(KeyTasks)},
	MethodElicit:                 {"elicitation/create", legacy.server()},
	MethodSample:                 {"sampling/createMessage", legacy.server()},
	MethodRootsList:              {"roots/list", legacy.server()},
	MethodInitialized:            {"notifications/initialized", legacy.client().note()},
	MethodCancelled:              {"notifications/cancelled", both.client().server().note()},
	MethodProgress:               {"notifications/progress", both.client().server().note()},
	MethodLogMessage:             {"notifications/message", both.server().note()},
	MethodRootsChanged:           {"notifications/roots/list_changed", legacy.client().note()},
	MethodToolsChanged:           {"notifications/tools/list_changed", both.server().note()},
	MethodPromptsChanged:         {"notifications/prompts/list_changed", both.server().note()},
	MethodResourcesChanged:       {"notifications/resources/list_changed", both.server().note()},
	MethodResourceUpdated:        {"notifications/resources/updated", both.server().note()},
	MethodListenAcknowledged:     {"notifications/subscriptions/acknowledged", modern.server().note()},
	MethodElicitComplete:         {"notifications/elicitation/complete", legacy.server().note()},
	MethodTaskStatus:             {"notifications/tasks/status", legacy.client().server().note()},
	MethodTaskChanged:            {"notifications/tasks", modern.server().note()},
}

var methodTable = newNames(methodNameList())

func methodNameList() []string {
	list := make([]string, numMethods)
	for m := range methods {
		list[m] = methods[m].name
	}
	return list
}

// MethodOf returns the method of that name, MethodUnknown when there is none.
// Names are compared exactly.
func MethodOf(name string) Method {
	var buf [64]byte
	if len(name) > len(buf) {
		return MethodUnknown
	}
	return methodOf(buf[:copy(buf[:], name)])
}

func methodOf(name []byte) Method {
	if i, exact := methodTable.find(name); exact {
		return Method(i)
	}
	return MethodUnknown
}

// String returns the name on the wire, "" for MethodUnknown.
func (m Method) String() string {
	if m >= numMethods {
		return ""
	}
	return methods[m].name
}

// Facts returns what the protocol fixes about the method; the zero Facts for
// MethodUnknown.
func (m Method) Facts() Facts {
	if m >= numMethods {
		return Facts{}
	}
	return methods[m].facts
}
