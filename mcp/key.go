package mcp

// Key names a member of params, result or error that something reads.
type Key uint8

// The members that something reads. KeyNone is no member.
const (
	KeyNone Key = iota
	KeyMeta
	KeyName
	KeyURI
	KeyTaskID
	KeyCursor
	KeyArguments
	KeyRef
	KeyArgument
	KeyLevel
	KeyProtocolVersion
	KeyCapabilities
	KeyClientInfo
	KeyRequestID
	KeyReason
	KeyProgressToken
	KeyProgress
	KeyTotal
	KeyInputResponses
	KeyRequestState
	KeyNotifications
	KeyTask
	KeyResultType
	KeyNextCursor
	KeyTTLMs
	KeyCacheScope
	KeyStructuredContent
	KeyIsError
	KeyContent
	KeyContents
	KeyMessages
	KeyCompletion
	KeyTools
	KeyPrompts
	KeyResources
	KeyResourceTemplates
	KeyTasks
	KeyRoots
	KeyServerInfo
	KeyInstructions
	KeySupportedVersions
	KeyInputRequests
	KeyCode
	KeyMessage
	KeyData
	numKeys
)

// where a key is read: there, a spelling that differs in case is refused.
const (
	inParams = 1 << iota
	inResult
	inError
)

var keyFacts = [numKeys]struct {
	name  string
	where uint8
}{
	KeyMeta:              {"_meta", inParams | inResult},
	KeyName:              {"name", inParams},
	KeyURI:               {"uri", inParams},
	KeyTaskID:            {"taskId", inParams | inResult},
	KeyCursor:            {"cursor", inParams},
	KeyArguments:         {"arguments", inParams},
	KeyRef:               {"ref", inParams},
	KeyArgument:          {"argument", inParams},
	KeyLevel:             {"level", inParams},
	KeyProtocolVersion:   {"protocolVersion", inParams | inResult},
	KeyCapabilities:      {"capabilities", inParams | inResult},
	KeyClientInfo:        {"clientInfo", inParams},
	KeyRequestID:         {"requestId", inParams},
	KeyReason:            {"reason", inParams},
	KeyProgressToken:     {"progressToken", inParams},
	KeyProgress:          {"progress", inParams},
	KeyTotal:             {"total", inParams},
	KeyInputResponses:    {"inputResponses", inParams},
	KeyRequestState:      {"requestState", inParams | inResult},
	KeyNotifications:     {"notifications", inParams},
	KeyTask:              {"task", inParams | inResult},
	KeyResultType:        {"resultType", inResult},
	KeyNextCursor:        {"nextCursor", inResult},
	KeyTTLMs:             {"ttlMs", inResult},
	KeyCacheScope:        {"cacheScope", inResult},
	KeyStructuredContent: {"structuredContent", inResult},
	KeyIsError:           {"isError", inResult},
	KeyContent:           {"content", inResult},
	KeyContents:          {"contents", inResult},
	KeyMessages:          {"messages", inResult},
	KeyCompletion:        {"completion", inResult},
	KeyTools:             {"tools", inResult},
	KeyPrompts:           {"prompts", inResult},
	KeyResources:         {"resources", inResult},
	KeyResourceTemplates: {"resourceTemplates", inResult},
	KeyTasks:             {"tasks", inResult},
	KeyRoots:             {"roots", inResult},
	KeyServerInfo:        {"serverInfo", inResult},
	KeyInstructions:      {"instructions", inResult},
	KeySupportedVersions: {"supportedVersions", inResult},
	KeyInputRequests:     {"inputRequests", inResult},
	KeyCode:              {"code", inError},
	KeyMessage:           {"message", inParams | inError},
	KeyData:              {"data", inParams | inError},
}

// String returns the member's name on the wire, "" for KeyNone.
func (k Key) String() string {
	if k >= numKeys {
		return ""
	}
	return keyFacts[k].name
}

// MetaKey names a reserved member of a _meta object.
type MetaKey uint8

// The reserved members of _meta (2026-07-28 basic/index "_meta"; related-task
// is of 2025-11-25 tasks, identity and cache are this gateway's own). MetaNone is no member.
const (
	MetaNone MetaKey = iota
	MetaProtocolVersion
	MetaClientInfo
	MetaClientCapabilities
	MetaLogLevel
	MetaProgressToken
	MetaTraceparent
	MetaTracestate
	MetaBaggage
	MetaSubscriptionID
	MetaServerInfo
	MetaRelatedTask
	MetaIdentity
	MetaCache
	numMetaKeys
)

var metaNames = [numMetaKeys]string{
	MetaProtocolVersion:    "io.modelcontextprotocol/protocolVersion",
	MetaClientInfo:         "io.modelcontextprotocol/clientInfo",
	MetaClientCapabilities: "io.modelcontextprotocol/clientCapabilities",
	MetaLogLevel:           "io.modelcontextprotocol/logLevel",
	MetaProgressToken:      "progressToken",
	MetaTraceparent:        "traceparent",
	MetaTracestate:         "tracestate",
	MetaBaggage:            "baggage",
	MetaSubscriptionID:     "io.modelcontextprotocol/subscriptionId",
	MetaServerInfo:         "io.modelcontextprotocol/serverInfo",
	MetaRelatedTask:        "io.modelcontextprotocol/related-task",
	MetaIdentity:           "io.toolcrib/identity",
	MetaCache:              "io.toolcrib/cache",
}

// String returns the member's name on the wire, "" for MetaNone.
func (k MetaKey) String() string {
	if k >= numMetaKeys {
		return ""
	}
	return metaNames[k]
}

// The members of a JSON-RPC message itself.
const (
	topNone = iota
	topJSONRPC
	topID
	topMethod
	topParams
	topResult
	topError
	numTop
)

var topNames = [numTop]string{
	topJSONRPC: "jsonrpc", topID: "id", topMethod: "method",
	topParams: "params", topResult: "result", topError: "error",
}

var (
	topTable  = newNames(topNames[:])
	keyTable  = newNames(keyNameList())
	metaTable = newNames(metaNames[:])
)

func keyNameList() []string {
	list := make([]string, numKeys)
	for k := range keyFacts {
		list[k] = keyFacts[k].name
	}
	return list
}
