package mcp_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/mcp"
)

// smallCall is a modern tools/call of about 300 bytes.
const smallCall = `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"crm.find","arguments":{"region":"eu","q":"acme","limit":25},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1.0.0"},"io.modelcontextprotocol/clientCapabilities":{},"progressToken":"p7"}}}`

// textResult is a result with one text block whose raw JSON text is content.
func textResult(content string) []byte {
	return []byte(`{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"` + content + `"}],"isError":false}}`)
}

// repeated is text, repeated and cut at whole repetitions, of about n bytes.
func repeated(text string, n int) string { return strings.Repeat(text, n/len(text)+1) }

// structuredResult is a result of about n bytes made of rows of many types.
func structuredResult(n int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"jsonrpc":"2.0","id":"q-17","result":{"content":[],"structuredContent":{"rows":[`)
	for i := 0; b.Len() < n; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":%d,"name":"Customer number %d","email":"customer%d@example.com","active":%v,"score":%d.%02d,"tags":["alpha","beta"],"parent":null,"note":"Prefers to be called in the afternoon, between two and four."}`,
			i, i, i, i%3 == 0, i%100, i%97)
	}
	b.WriteString(`]},"resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"crm","version":"3"}}}}`)
	return b.Bytes()
}

// toolList is a tools/list result of about n bytes.
func toolList(n int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"jsonrpc":"2.0","id":1,"result":{"tools":[`)
	for i := 0; b.Len() < n; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"name":"find_customer_%d","title":"Find customers","description":"Finds customers by name, region and state. Returns at most limit rows, newest first.","inputSchema":{"type":"object","properties":{"name":{"type":"string","description":"Part of the name"},"region":{"type":"string","enum":["eu","us","apac"]},"limit":{"type":"integer","minimum":1,"maximum":100,"default":20}},"required":["name"],"additionalProperties":false},"annotations":{"readOnlyHint":true,"openWorldHint":false}}`, i)
	}
	b.WriteString(`],"ttlMs":300000,"cacheScope":"public","resultType":"complete"}}`)
	return b.Bytes()
}

func pretty(b []byte) []byte {
	var out bytes.Buffer
	if err := jsonIndent(&out, b); err != nil {
		panic(err)
	}
	return out.Bytes()
}

var benchBodies = []struct {
	name string
	body []byte
}{
	{"300B", []byte(smallCall)},
	{"4KiB", structuredResult(4 << 10)},
	{"64KiB-plain", textResult(repeated("The quick brown fox jumps over the lazy dog. ", 64<<10))},
	{"64KiB-escaped", textResult(repeated(`{\n  \"name\": \"value of the name\",\n  \"path\": \"C:\\\\dir\"\n}`, 64<<10))},
	{"64KiB-german", textResult(repeated("Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. ", 64<<10))},
	{"64KiB-cjk", textResult(repeated("天地玄黄宇宙洪荒日月盈昃辰宿列张", 64<<10))},
	{"64KiB-structured", structuredResult(64 << 10)},
	{"64KiB-tools", toolList(64 << 10)},
	{"64KiB-pretty", pretty(structuredResult(40 << 10))},
}

func BenchmarkScan(b *testing.B) {
	for _, bb := range benchBodies {
		b.Run(bb.name, func(b *testing.B) {
			var m mcp.Message
			b.SetBytes(int64(len(bb.body)))
			b.ReportAllocs()
			for b.Loop() {
				if e := mcp.Scan(bb.body, &m, mcp.Limits{}); e != nil {
					b.Fatal(e)
				}
			}
		})
	}
}

func BenchmarkElements(b *testing.B) {
	body := toolList(64 << 10)
	var m mcp.Message
	if e := mcp.Scan(body, &m, mcp.Limits{}); e != nil {
		b.Fatal(e)
	}
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		mcp.Elements(body, m.Get(mcp.KeyTools), func(mcp.Span) bool { return true })
	}
}

func BenchmarkEventReader(b *testing.B) {
	for _, bb := range benchBodies[:3] {
		stream := bytes.Repeat(mcp.AppendEvent(nil, bb.body), 8)
		b.Run(bb.name, func(b *testing.B) {
			src := bytes.NewReader(stream)
			r := mcp.NewEventReader(src, 1<<20)
			b.SetBytes(int64(len(stream)))
			b.ReportAllocs()
			for b.Loop() {
				src.Reset(stream)
				r.Reset(src)
				for n := 0; ; n++ {
					if _, err := r.Next(); err != nil {
						if n != 8 {
							b.Fatal(n, err)
						}
						break
					}
				}
			}
		})
	}
}

func BenchmarkAppendEvent(b *testing.B) {
	body := benchBodies[2].body
	dst := make([]byte, 0, len(body)+64)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		dst = mcp.AppendEvent(dst[:0], body)
	}
}

func BenchmarkEdits(b *testing.B) {
	body := []byte(smallCall)
	var m mcp.Message
	if e := mcp.Scan(body, &m, mcp.Limits{}); e != nil {
		b.Fatal(e)
	}
	var e mcp.Edits
	dst := make([]byte, 0, 2*len(body))
	b.ReportAllocs()
	for b.Loop() {
		e.Reset()
		e.Replace(m.ID, []byte("12345"))
		e.Replace(m.Get(mcp.KeyName), []byte(`"find"`))
		e.Remove(body, m.Meta[mcp.MetaProtocolVersion], m.Meta[mcp.MetaClientInfo], m.Meta[mcp.MetaClientCapabilities])
		e.Insert(body, m.Get(mcp.KeyMeta), []byte(`"traceparent":"00-0-0-0"`))
		dst = e.Append(dst[:0], body)
	}
}
