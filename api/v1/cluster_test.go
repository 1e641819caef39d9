package v1_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

func TestParseClusterAddress(t *testing.T) {
	for text, want := range map[string]v1.ClusterAddress{
		"redis://a":                     {Hosts: []string{"a:6379"}},
		"redis://127.0.0.1:7000/3":      {Hosts: []string{"127.0.0.1:7000"}, Database: 3},
		"rediss://u:p%40%2F+@h:1/":      {TLS: true, Hosts: []string{"h:1"}, User: "u", Password: "p@/+"},
		"redis://:p:q@h":                {Hosts: []string{"h:6379"}, Password: "p:q"},
		"redis://a:1,b,[::1]:3,[::2]":   {Hosts: []string{"a:1", "b:6379", "[::1]:3", "[::2]:6379"}},
		"redis://a:1?addr=b:2&addr=a:1": {Hosts: []string{"a:1", "b:2"}},
		"redis://a,b/2?master_set=m&sentinel_user=u&sentinel_password=p": {
			Hosts: []string{"a:6379", "b:6379"}, Database: 2, MasterSet: "m", SentinelUser: "u", SentinelPassword: "p",
		},
	} {
		got, err := v1.ParseClusterAddress(v1.Secret(text))
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", text, err, diff)
		}
	}
}

func TestParseClusterAddressRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"localhost:6379":                      "scheme",
		"http://sekrit@h":                     "scheme",
		"redis:// h":                          "space",
		"redis://:sek#rit@h":                  "%23",
		"redis://":                            "host:port",
		"redis://:sekrit/x@h":                 "%2F",
		"redis://:sek@rit@h":                  "%40",
		"redis://:sekrit%zz@h":                "percent-encoded",
		"redis://h:0":                         "host:port",
		"redis://h:":                          "host:port",
		"redis://h:99999":                     "host:port",
		"redis://a,,b":                        "host:port",
		"redis://[::x]:1":                     "host:port",
		"redis://h/db":                        "number of a database",
		"redis://h/1/2":                       "number of a database",
		"redis://h?sekrit=1":                  "not one of addr",
		"redis://h?master_set=":               "empty",
		"redis://h?master_set=a&master_set=b": "twice",
		"redis://h?sentinel_password=sekrit":  "no master_set",
		"redis://a,b/1":                       "only 0",
		"redis://h?addr=sekrit%zz":            "percent-encoded",
		"redis://h?addr=":                     "host:port",
		"redis://h?addr=" + manyHosts(80):     "more than 64",
	} {
		_, err := v1.ParseClusterAddress(v1.Secret(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: got %v, want %q", text, err, want)
		} else if strings.Contains(err.Error(), "sekrit") || strings.Contains(err.Error(), "rit@") {
			t.Errorf("%s: the error shows a secret: %v", text, err)
		}
	}
}

func manyHosts(n int) string {
	hosts := make([]string, n)
	for i := range hosts {
		hosts[i] = "h" + strings.Repeat("x", i%8) + string(rune('a'+i%26)) + strings.Repeat("y", i/8)
	}
	return strings.Join(hosts, "&addr=")
}

func TestClusterInAFile(t *testing.T) {
	_, problems := parse("mcpServers: {}\ncluster: redis://:sekrit@a b\n")
	if got := problems.Error(); !strings.Contains(got, "line 2: cluster: holds a space") || strings.Contains(got, "sekrit") {
		t.Errorf("got %s", got)
	}
	c, problems := parse("mcpServers: {}\n", "REDIS_URL", "redis://:sekrit@a")
	if problems != nil || c.Cluster != "redis://:sekrit@a" {
		t.Fatalf("got %v, %v", c, problems)
	}
	if got := strings.Join(c.Warnings, "\n"); !strings.Contains(got, "seal.keys") {
		t.Errorf("no warning of keys that differ: %s", got)
	}
	if c, _ := parse("mcpServers: {}\n", "REDIS_URL", "redis://a", "TOOLCRIB_CLUSTER", "redis://b"); c.Cluster != "redis://b" {
		t.Error("TOOLCRIB_CLUSTER stands over REDIS_URL")
	}
}
