package cluster

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/toolcrib/toolcrib/seal"
)

const (
	// KinKey is the key of facts under which each replica says which keys it has, by fingerprints.
	KinKey = "kin"

	kinEvery = 2 * time.Second
	// kinAlive is how long after it last said something a replica counts as there, kinKept how long what it said is kept.
	kinAlive = 10 * time.Second
	kinKept  = time.Minute
	kinMost  = 64 // fingerprints that a replica tells
	// kinSure is how often in a row keys must differ before it is told: all replicas take new ones at about the same time.
	kinSure = 2
	// strangersMost is how many are told of: anybody who reaches the backend can make up some.
	strangersMost = 10
)

// Stranger is another replica whose keys are others: one of the two cannot open what the other seals.
type Stranger struct {
	Replica string
	// Opens tells whether it opens what is sealed here, Opened whether what it seals is opened here.
	Opens, Opened bool
}

// String says who cannot open what.
func (s Stranger) String() string {
	name := strconv.Quote(s.Replica)
	switch {
	case s.Opens:
		return "what replica " + name + " seals is not opened here"
	case s.Opened:
		return "replica " + name + " does not open what is sealed here"
	}
	return "replica " + name + " and this one do not open what the other seals"
}

// Strangers are the first replicas of facts under KinKey that spoke within the last minutes and have other keys than ring.
func Strangers(facts map[string]string, ring *seal.Ring, now time.Time) (all []Stranger) {
	for _, replica := range slices.Sorted(maps.Keys(facts)) {
		at, _, _ := strings.Cut(facts[replica], " ")
		seconds, err := strconv.ParseInt(at, 10, 64)
		if s, apart := stranger(replica, facts[replica], ring.Fingerprints()); apart && err == nil && now.Sub(time.Unix(seconds, 0)).Abs() < window {
			all = append(all, s)
		}
	}
	return all[:min(strangersMost, len(all))]
}

// stranger compares the keys that a replica tells with those here. Each seals with its first.
func stranger(replica, said string, ours []string) (s Stranger, apart bool) {
	_, list, _ := strings.Cut(said, " ")
	theirs := strings.Fields(list)
	if len(theirs) == 0 || len(replica) > maxReplica {
		return s, false
	}
	s = Stranger{Replica: replica, Opens: slices.Contains(theirs, ours[0]), Opened: slices.Contains(ours, theirs[0])}
	return s, !s.Opens || !s.Opened
}

// sighting is what a replica said last, when that was new, and how often in a row its keys were others.
type sighting struct {
	said  string
	at    time.Time
	apart int
}

// meet tells the other replicas again and again which keys are here, and looks at theirs.
func (n *Node) meet() {
	tick := time.NewTicker(kinEvery)
	defer tick.Stop()
	seen := map[string]sighting{}
	for {
		if !n.Alone() && n.Status().Connected {
			n.look(seen)
		} else {
			n.strangers.Store(nil) // nobody knows
		}
		select {
		case <-tick.C:
		case <-n.life.Done():
			if !n.Alone() {
				_ = n.o.Backend.Drop(context.Background(), KinKey, n.o.ID) // else it expires
			}
			return
		}
	}
}

// look says which keys are here, and notes which replicas have others.
func (n *Node) look(seen map[string]sighting) {
	ours, now := n.o.Ring().Fingerprints(), time.Now()
	said := strconv.FormatInt(now.Unix(), 10) + " " + strings.Join(ours[:min(kinMost, len(ours))], " ")
	if n.o.Backend.Put(n.life, KinKey, n.o.ID, said, now.Add(kinKept)) != nil {
		return
	}
	facts, err := n.o.Backend.Facts(n.life, KinKey)
	if err != nil {
		return
	}
	delete(facts, n.o.ID)
	var strangers []Stranger
	for replica, said := range facts {
		was, known := seen[replica]
		is := sighting{said, was.at, was.apart}
		s, apart := stranger(replica, said, ours)
		switch {
		case !known || !apart:
			is.at, is.apart = now, 0
		case was.said != said:
			is.at, is.apart = now, was.apart+1
		}
		seen[replica] = is
		switch silent := now.Sub(is.at); {
		case silent > kinKept:
			_ = n.o.Backend.Drop(n.life, KinKey, replica) // it died
		case silent < kinAlive && is.apart >= kinSure:
			strangers = append(strangers, s)
		}
	}
	maps.DeleteFunc(seen, func(replica string, _ sighting) bool { return facts[replica] == "" })
	n.note(strangers)
}

// note logs which replicas have other keys when they have become others, and keeps it.
func (n *Node) note(strangers []Stranger) {
	slices.SortFunc(strangers, func(a, b Stranger) int { return strings.Compare(a.Replica, b.Replica) })
	strangers = strangers[:min(strangersMost, len(strangers))]
	was := n.Strangers()
	for _, s := range strangers {
		if !slices.Contains(was, s) {
			n.o.Log.Warn("cluster: replicas have different keys, so that sessions and cursors of one fail at the other; give all the same seal.keys",
				"replica", s.Replica, "reason", s.String())
		}
	}
	if len(strangers) == 0 && len(was) > 0 {
		n.o.Log.Info("cluster: all replicas open what the others seal")
	}
	n.strangers.Store(&strangers)
}

// Strangers are the first of the other replicas that have other keys for some time.
func (n *Node) Strangers() []Stranger {
	if all := n.strangers.Load(); all != nil {
		return *all
	}
	return nil
}
