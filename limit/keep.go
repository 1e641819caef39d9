package limit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/toolcrib/toolcrib/internal/files"
)

// Quotas outlive the process: in the cluster, or, for a replica that is alone, in a file that is written now and then. With a
// cluster, the file says how many replicas there were, for a start while the cluster is away.

const (
	// saveEvery is how often it is looked whether the file is to be written; a process that is killed loses what was used since.
	saveEvery = time.Second
	// saveShare keeps a file of very many keys from taking more than one part of so many of the time, but for saveLatest: so long after
	// one time it is looked again in any case, lest a disk that stood still once costs much more.
	saveShare  = 20
	saveLatest = 5 * time.Second
	keptMost   = 64 << 20 // bytes
	keptFormat = 1
	// replicasMost bounds what the file is believed of replicas.
	replicasMost = 10_000
)

// kept is the file.
type kept struct {
	Format   int         `json:"format"`
	Replicas int64       `json:"replicas,omitempty"`
	Quotas   []keptQuota `json:"quotas,omitempty"`
}

// keptQuota is what was used of a quota, by key.
type keptQuota struct {
	Limit string     `json:"limit"`
	Per   []byte     `json:"per"`
	Cells []keptCell `json:"cells"`
}

type keptCell struct {
	Key    []byte  `json:"key"`
	Window int64   `json:"window"`
	Used   float64 `json:"used"`
}

// load reads the file, for limits that are configured later.
func (l *Limiter) load() {
	k, err := readKept(l.o.File)
	if err != nil {
		l.o.Log.Warn("limits: what is known from before this start cannot be read; quotas begin anew", "file", l.o.File, "error", err)
		return
	}
	if l.share != nil {
		l.share.replicas.Store(min(max(k.Replicas, 1), replicasMost))
		return
	}
	for _, q := range k.Quotas {
		l.kept[tableKey{q.Limit, string(q.Per)}] = q.Cells
	}
}

// CheckFile tells why a file with what is used of quotas cannot be used; one that there is not can be.
func CheckFile(file string) error {
	_, err := readKept(file)
	return err
}

// readKept reads the file. One that there is not is empty.
func readKept(file string) (k kept, err error) {
	data, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return kept{}, nil
	case err != nil:
		return kept{}, err
	case len(data) > keptMost:
		return kept{}, fmt.Errorf("it has %d bytes, more than are ever written", len(data))
	}
	if err := json.Unmarshal(data, &k); err != nil {
		return kept{}, err
	}
	if k.Format != keptFormat {
		return kept{}, fmt.Errorf("it has the format %d, which this version does not know", k.Format)
	}
	return k, nil
}

// restore puts into the table of a limit what the file has of its quota.
func (l *Limiter) restore(r *rule, key tableKey) {
	at := slices.IndexFunc(r.meters, func(m meter) bool { return m.kind == kindQuota })
	if at < 0 {
		return
	}
	t := l.moment(time.Now())
	for _, k := range l.kept[key] {
		if k.Used > 0 && k.Window == r.meters[at].window(t) {
			c := r.enter(k.Key, t).cells[kindQuota].Load()
			c.used, c.window = k.Used, k.Window
		}
	}
	delete(l.kept, key)
}

// savePause is how long it is waited after it took so long to save.
func savePause(took time.Duration) time.Duration {
	return min(max(saveEvery, saveShare*took), saveLatest)
}

// save writes the file, if something was used since it was written.
func (l *Limiter) save() {
	k, sum := l.collect()
	if sum == l.saved {
		return
	}
	if l.write(k) {
		l.saved = sum
	}
}

// write replaces the file; that it cannot be is told once.
func (l *Limiter) write(k kept) bool {
	k.Format = keptFormat
	data, err := json.Marshal(k)
	if err == nil {
		err = files.Replace(l.o.File, data, 0o600)
	}
	if err != nil && !l.unsaved {
		l.o.Log.Warn("limits: what is known of them cannot be kept for the next start", "file", l.o.File, "error", err)
	}
	l.unsaved = err != nil
	return err == nil
}

// total tells whether something was used since.
type total struct {
	cells int
	used  float64
}

func (l *Limiter) collect() (k kept, sum total) {
	t := l.moment(time.Now())
	for m := range l.Rules().meters {
		if m.kind != kindQuota {
			continue
		}
		q := keptQuota{Limit: m.rule.name, Per: joined(m.rule.Per)}
		m.each(func(key string, c *cell) {
			if m.available(c, t) < m.most {
				q.Cells = append(q.Cells, keptCell{[]byte(key), c.window, c.used})
				sum.used += c.used
			}
		})
		sum.cells += len(q.Cells)
		k.Quotas = append(k.Quotas, q)
	}
	return k, sum
}

// each visits all cells of a meter, with their locks held.
func (m *meter) each(visit func(key string, c *cell)) {
	for i := range m.rule.table.shards {
		s := &m.rule.table.shards[i]
		s.mu.RLock()
		for key, a := range s.accounts {
			c := a.cells[m.kind].Load()
			if c == nil {
				continue
			}
			c.mu.Lock()
			visit(key, c)
			c.mu.Unlock()
		}
		s.mu.RUnlock()
	}
}
