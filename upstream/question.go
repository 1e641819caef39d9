package upstream

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/toolcrib/toolcrib/mcp"
)

// Abilities are the kinds and modes of questions that a client can be asked (client capabilities elicitation, sampling, roots).
type Abilities uint8

// The abilities.
const (
	ElicitForm Abilities = 1 << iota
	ElicitURL
	Sample
	SampleTools
	SampleContext
	Roots
)

// AllAbilities are all that the protocol has.
const AllAbilities = ElicitForm | ElicitURL | Sample | SampleTools | SampleContext | Roots

// declared are capabilities that were read before. Clients send the same with every request.
type declared struct {
	raw string
	can Abilities
}

// declaredMost bounds the capabilities that are remembered.
const declaredMost = 1 << 10

var (
	remembered     [256]atomic.Pointer[declared]
	rememberedSeed = maphash.MakeSeed()
)

// AbilitiesOf reads raw ClientCapabilities of either era; an empty elicitation object means form mode.
func AbilitiesOf(capabilities []byte) Abilities {
	if len(capabilities) > declaredMost {
		return readAbilities(capabilities)
	}
	place := &remembered[maphash.Bytes(rememberedSeed, capabilities)%uint64(len(remembered))]
	if d := place.Load(); d != nil && d.raw == string(capabilities) {
		return d.can
	}
	d := &declared{string(capabilities), readAbilities(capabilities)}
	place.Store(d)
	return d.can
}

func readAbilities(capabilities []byte) Abilities {
	var a Abilities
	if elicit, inner := member(capabilities, "elicitation"); elicit {
		form, _ := member(inner, "form")
		url, _ := member(inner, "url")
		if form || !url {
			a |= ElicitForm
		}
		if url {
			a |= ElicitURL
		}
	}
	if sample, inner := member(capabilities, "sampling"); sample {
		a |= Sample
		if ok, _ := member(inner, "tools"); ok {
			a |= SampleTools
		}
		if ok, _ := member(inner, "context"); ok {
			a |= SampleContext
		}
	}
	if ok, _ := member(capabilities, "roots"); ok {
		a |= Roots
	}
	return a
}

// member finds a member of a raw object whose value is an object too.
func member(object []byte, name string) (bool, []byte) {
	if len(object) == 0 || object[0] != '{' {
		return false, nil
	}
	f, err := mcp.Lookup(object, mcp.Span{End: int32(len(object))}, name)
	if err != nil || !f.Present() || object[f.Start] != '{' {
		return false, nil
	}
	return true, f.Of(object)
}

// Capabilities writes raw ClientCapabilities that declare exactly these abilities.
func (a Abilities) Capabilities() []byte {
	b := []byte{'{'}
	group := func(on bool, name string, modes ...string) {
		if !on {
			return
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), name...), `":{`...)
		for i, m := range modes {
			if i > 0 && b[len(b)-1] != '{' && m != "" {
				b = append(b, ',')
			}
			if m != "" {
				b = append(append(append(b, '"'), m...), `":{}`...)
			}
		}
		b = append(b, '}')
	}
	group(a&(ElicitForm|ElicitURL) != 0, "elicitation", mode(a&ElicitForm, "form"), mode(a&ElicitURL, "url"))
	group(a&Sample != 0, "sampling", mode(a&SampleTools, "tools"), mode(a&SampleContext, "context"))
	group(a&Roots != 0, "roots")
	return append(b, '}')
}

func mode(on Abilities, name string) string {
	if on == 0 {
		return ""
	}
	return name
}

// Answer is a client's answer to one question; exactly one of Result and Error is present, as raw JSON.
type Answer struct {
	// Key names the question in the map that the client was given (mrtr "inputRequests").
	Key string `json:"key"`
	// Result is the answer.
	Result []byte `json:"result,omitempty"`
	// Error is the JSON-RPC error object that a legacy client answered instead.
	Error []byte `json:"error,omitempty"`
}

// Needed are the abilities that a client must have to be asked this; 0 when it is no question of the protocol. params is the
// raw params object of the question; nil when it has none.
func Needed(m mcp.Method, params []byte) Abilities {
	switch m {
	case mcp.MethodRootsList:
		return Roots
	case mcp.MethodElicit:
		switch text(params, "mode") {
		case "url":
			return ElicitURL
		case ambiguous:
			return ElicitForm | ElicitURL
		}
		return ElicitForm
	case mcp.MethodSample:
		need := Sample
		if has(params, "tools") || has(params, "toolChoice") {
			need |= SampleTools
		}
		if c := text(params, "includeContext"); c != "" && c != "none" {
			need |= SampleContext
		}
		return need
	}
	return 0
}

func has(object []byte, name string) bool {
	if len(object) == 0 || object[0] != '{' {
		return false
	}
	f, err := mcp.Lookup(object, mcp.Span{End: int32(len(object))}, name)
	return err != nil || f.Present()
}

// ambiguous stands for the text of a member that readers would not agree on.
const ambiguous = "\x00"

func text(object []byte, name string) string {
	if len(object) == 0 || object[0] != '{' {
		return ""
	}
	f, err := mcp.Lookup(object, mcp.Span{End: int32(len(object))}, name)
	if err != nil {
		return ambiguous
	}
	t, _ := mcp.Text(object, f.Span, nil)
	return string(t)
}
