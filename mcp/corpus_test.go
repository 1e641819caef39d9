package mcp_test

import "strings"

// oddValues are JSON values that must pass through untouched.
var oddValues = []string{
	`9007199254740993`, `1.0`, `1e400`, `-0`, `0.1e-400`, `1E+2`,
	`""`, `[]`, `{}`, `null`, `true`, `false`, `[[],{}]`, `{"":{"":[]}}`,
	"\"\u00a0\u200d\u3000\ufeff\"", `"\u00a0\u200D\u3000\ufeff"`,
	`"\ud800"`, `"\udc00\ud800"`, `"\ud83d\ude00"`, "\"\U0001f600\"", `"\u0000\b\f\n\r\t\/\\\""`,
	`{"a":1,"a":2,"A":3,"\u0061":4}`, `{"z":1,"y":2,"x":{"w":[1.50,{"v":null}]}}`,
	`" name "`, "\"\u2028\u2029\u007f\"",
}

// goodMessages are messages of all kinds.
var goodMessages = func() []string {
	list := []string{
		smallCall,
		`{"jsonrpc":"2.0","id":"a","method":"ping"}`,
		`{"id":-1.5e3,"method":"tools/list","params":{},"jsonrpc":"2.0"}`,
		`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"\ud800","reason":"late"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"vendor/unknown","params":{"name":{"x":1},"Content":2,"tools":3}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools\/call","params":{"n\u0061me":"\u0066ind","_m\u0065ta":{}}}`,
		`{"jsonrpc":"2.0","id":"\ud800","result":{"content":[],"Name":1,"name":2}}`,
		`{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"no","data":{"x":1}}}`,
		`{"jsonrpc":"2.0","error":{"code":-3.2e4,"message":""}}`,
		`{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"x"},"vendor/a":1,"vendor/b":2}}}`,
		"\r\n { \"jsonrpc\" : \"2.0\" , \"id\" : 1 , \"method\" : \"ping\" , \"x\" : [ ] , \"y\" : { } }\n",
		`{"jsonrpc":"2.0","id":1,"method":"x","extra":{"jsonrpc":1,"jsonrpc":2},"a":1,"b":2}`,
		`{"jsonrpc":"2.\u0030","id":1,"method":"x"}`,
		`{"jsonrpc":"2.0","id":1,"method":"x","params":{` + manyKeys(40) + `}}`,
	}
	for _, v := range oddValues {
		list = append(list,
			`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":`+v+`,"_meta":{"vendor/x":`+v+`}}}`,
			`{"jsonrpc":"2.0","id":1,"result":{"structuredContent":`+v+`,"x":[`+v+`,`+v+`]}}`)
	}
	return list
}()

// manyKeys is n members with different keys.
func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"key` + strings.Repeat("k", i) + `":` + oddValues[i%len(oddValues)])
	}
	return b.String()
}

// badGrammar are bodies that are not JSON, or not one JSON text.
var badGrammar = []string{
	"", " ", "\n", "{", "}", "[", "]", `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{,}`, `{"a" 1}`, `{"a":1 "b":2}`,
	`{a:1}`, `{'a':1}`, `{"a":'1'}`, `[1,]`, `[,1]`, `[1 2]`, `[1}`, `{"a":1]`, `{"a":[}`, `{"a":{]}`,
	`{"a":01}`, `{"a":-}`, `{"a":1.}`, `{"a":.5}`, `{"a":1e}`, `{"a":1e+}`, `{"a":+1}`, `{"a":0x1}`, `{"a":NaN}`, `{"a":Infinity}`, `{"a":--1}`, `{"a":1.e1}`,
	`{"a":tru}`, `{"a":True}`, `{"a":nul}`, `{"a":fals}`, `{"a":truex}`, `{"a":t`, `nul`,
	"{\"a\":\"\x00\"}", "{\"a\":\"\n\"}", "{\"a\":\"\x1f\"}", "{\"a\":\"\t\"}", `{"a":"`, `{"a":"x`, `{"a":"\`, `{"a":"\"`,
	`{"a":"\x"}`, `{"a":"\u12"}`, `{"a":"\u12G4"}`, `{"a":"\U0041"}`, `{"a":"\u"}`, `{"a":"\'"}`, `{"a":"\` + "\x00" + `"}`,
	"{\"a\":\"\xff\"}", "{\"a\":\"\xc0\x80\"}", "{\"a\":\"\xed\xa0\x80\"}", "{\"a\":\"\xf5\x80\x80\x80\"}", "{\"a\":\"\xf4\x90\x80\x80\"}",
	"{\"a\":\"\xe2\x82\"}", "{\"a\":\"\xe2\x82", "{\"a\":\"\xe0\x80\x80 padding\"}", "{\"a\":\"\xe0\x9f\xbf\"}", "{\"a\":\"\xc1\xbf\"}", "{\"a\":\"\x80\"}", "{\"a\":\"\xf0\x8f\xbf\xbf\"}",
	"\ufeff{}", "{}\ufeff", "{}{}", "{} x", "{},", "{}\x00", "\x00{}", "\xff", "{\u00a0}", "{\"a\":1\u00a0}", "{\"a\":\x0b1}", "{\"a\":1\f}",
	"{\"\xff\":1}", `{"\x":1}`, `{"a":1,"b"}`, `{"a":1,1:2}`, `{"a":1/*c*/}`, `{"a":1}//`, `"abc`, `12x`, `[[[`, `{"a":[[1,2],[3}`,
}
