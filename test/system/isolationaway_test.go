package system_test

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestIsolatedWithoutRedis: while Redis is away instances go on where they are; principals get further ones at the other replica,
// sessions are refused there in time, with the reason. When Redis is back there is one instance of each again, and it is the
// session's own.
func TestIsolatedWithoutRedis(t *testing.T) {
	t.Parallel()
	one, two := testenv.StdioServer(t, reporter(testenv.Modern)), testenv.StdioServer(t, reporter(testenv.Legacy))
	config := isolated(one, map[string]any{"isolation": "principal"})
	config.Entries["two"] = two.Entry(map[string]any{"isolation": "session"})
	redis := testenv.StartRedis(t)
	f := testenv.ServeFleet(t, testenv.FleetConfig{Config: config, Redis: redis.URL(), Replicas: 2})
	f.Again = true
	alice, bob := fleetClient(t, f, testenv.Modern, aliceKey), fleetClient(t, f, testenv.Legacy, bobKey)
	session := func(n int) (r report, reply *testenv.Reply) {
		reply = f.At(n, bob).Tool("two__who", "{}")
		_ = json.Unmarshal([]byte(reply.Texts()), &r) // an error has none
		return r, reply
	}
	first := who(t, f.At(0, alice))
	own, _ := session(0)
	if there, _ := session(1); there.PID != own.PID || own.PID == 0 {
		t.Fatalf("the session has processes %d and %d", own.PID, there.PID)
	}
	f.Again = false
	redis.Stop()
	if r := who(t, f.At(0, alice)); r.PID != first.PID {
		t.Errorf("process %d, and %d without Redis", first.PID, r.PID)
	}
	if r, reply := session(0); r.PID != own.PID {
		t.Errorf("the session's process %d: %v", own.PID, reply)
	}
	other := who(t, f.At(1, alice))
	if other.PID == first.PID {
		t.Error("the other replica has no instance")
	}
	watch := testenv.StartWatch(t)
	_, reply := session(1)
	if _, text := reply.Error(); !strings.Contains(text, "the call was not begun") || watch.Took() > 3*time.Second {
		t.Errorf("after %s: HTTP %d %v", watch.Took(), reply.Status, reply)
	}
	redis.Start()
	if r, reply := session(1); r.PID != own.PID {
		testenv.Eventually(t, "the session at the other replica", func() bool { r, reply = session(1); return r.PID != 0 })
		if r.PID != own.PID {
			t.Errorf("the session is begun anew: %v", reply)
		}
	}
	testenv.Eventually(t, "one instance", func() bool { return who(t, f.At(0, alice)).PID == who(t, f.At(1, alice)).PID })
	testenv.Eventually(t, "the end of the other one", func() bool { return !testenv.Alive(first.PID) || !testenv.Alive(other.PID) })
}

// TestLostLease: a replica whose lease another one got ends its instance, and goes to the other for the next call.
func TestLostLease(t *testing.T) {
	t.Parallel()
	redis := testenv.StartRedis(t)
	config := isolated(testenv.StdioServer(t, reporter(testenv.Modern)), map[string]any{"isolation": "principal"})
	f := testenv.ServeFleet(t, testenv.FleetConfig{Config: config, Redis: redis.URL(), Replicas: 2})
	f.Again = true
	alice := fleetClient(t, f, testenv.Modern, aliceKey)
	first := who(t, f.At(0, alice))
	var next report
	testenv.Eventually(t, "another instance, at the replica that gets the lease", func() bool { // it may be renewed just then
		if _, err := redis.Do("FLUSHALL"); err != nil {
			t.Fatal(err)
		}
		next = who(t, f.At(1, alice))
		return next.PID != first.PID
	})
	testenv.Eventually(t, "the end of the first instance", func() bool { return !testenv.Alive(first.PID) })
	if r := who(t, f.At(0, alice)); r.PID != next.PID {
		t.Errorf("process %d, want %d", r.PID, next.PID)
	}
}

// TestLeasesHandedOver: a replica that stops gives its leases back, so that others need not wait until they expire.
func TestLeasesHandedOver(t *testing.T) {
	t.Parallel()
	f := isolatedFleet(t, testenv.StdioServer(t, reporter(testenv.Modern)), map[string]any{"isolation": "principal"})
	alice := fleetClient(t, f, testenv.Modern, aliceKey)
	first := who(t, f.At(0, alice))
	watch := testenv.StartWatch(t)
	if err := syscall.Kill(f.Replicas[0].PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, "another instance", func() bool {
		var r report
		return json.Unmarshal([]byte(f.At(1, alice).Tool("one__who", "{}").Texts()), &r) == nil && r.PID != first.PID
	})
	if took := watch.Took(); took > 6*time.Second {
		t.Errorf("it took %s, which is about as long as leases last", took)
	}
}
