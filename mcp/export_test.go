package mcp

// Places where a key is known, for the naive reader of the tests.
const (
	InParams = inParams
	InResult = inResult
	InError  = inError
	NumKeys  = numKeys
	NumMeta  = numMetaKeys
	Methods  = numMethods
)

// Where returns the places where k is known.
func (k Key) Where() uint8 { return keyFacts[k].where }
