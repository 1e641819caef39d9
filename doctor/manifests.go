package doctor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v4"
)

const (
	manifestsMost = 2000
	manifestMost  = 4 << 20 // bytes
)

// manifests are what of Kubernetes manifests concerns the gateway.
type manifests struct {
	// workload is what runs the gateway, container the one of its containers; nil where none does.
	workload  *object
	container *container
	// replicas is how many there are at least; 0 for as many as there are nodes.
	replicas int
	// policies are its NetworkPolicies.
	policies []*object
}

// object is a Kubernetes object, as far as it is looked at.
type object struct {
	Kind     string `yaml:"kind"`
	Metadata struct {
		Name      string `yaml:"name"`
		Namespace string `yaml:"namespace"`
	} `yaml:"metadata"`
	Spec struct {
		Replicas    *int `yaml:"replicas"`
		MinReplicas *int `yaml:"minReplicas"`
		ScaleTarget struct {
			Kind string `yaml:"kind"`
			Name string `yaml:"name"`
		} `yaml:"scaleTargetRef"`
		PodSelector struct {
			MatchLabels      map[string]string `yaml:"matchLabels"`
			MatchExpressions []requirement     `yaml:"matchExpressions"`
		} `yaml:"podSelector"`
		PolicyTypes []string  `yaml:"policyTypes"`
		Ingress     []passage `yaml:"ingress"`
		Egress      []passage `yaml:"egress"`
		Template    struct {
			Metadata struct {
				Labels map[string]string `yaml:"labels"`
			} `yaml:"metadata"`
			Spec struct {
				Grace      *int        `yaml:"terminationGracePeriodSeconds"`
				Containers []container `yaml:"containers"`
			} `yaml:"spec"`
		} `yaml:"template"`
	} `yaml:"spec"`
}

// passage is a rule of a NetworkPolicy; one that says nothing lets all through.
type passage struct {
	From  []peer `yaml:"from"`
	To    []peer `yaml:"to"`
	Ports []any  `yaml:"ports"`
}

// peer is who a rule is about.
type peer struct {
	IPBlock struct {
		CIDR   string   `yaml:"cidr"`
		Except []string `yaml:"except"`
	} `yaml:"ipBlock"`
}

// all tells whether the rule lets all through: it names no ports, and nobody or every address of IPv4 or IPv6.
func (r *passage) all() bool {
	peers := slices.Concat(r.From, r.To)
	return len(r.Ports) == 0 && (len(peers) == 0 || slices.ContainsFunc(peers, func(p peer) bool {
		_, network, err := net.ParseCIDR(p.IPBlock.CIDR)
		if err != nil || len(p.IPBlock.Except) > 0 {
			return false
		}
		ones, _ := network.Mask.Size()
		return ones == 0
	}))
}

// with tells whether two objects are of one namespace, as far as they say.
func (o *object) with(other *object) bool {
	a, b := o.Metadata.Namespace, other.Metadata.Namespace
	return a == b || a == "" || b == ""
}

// bounds tells whether a NetworkPolicy bounds traffic in one direction, Ingress or Egress, and whether a rule of it lets all through.
func (o *object) bounds(direction string) (does, all bool) {
	rules := o.Spec.Ingress
	if direction == "Egress" {
		rules = o.Spec.Egress
	}
	does = slices.Contains(o.Spec.PolicyTypes, direction) || len(o.Spec.PolicyTypes) == 0 && (direction == "Ingress" || len(rules) > 0)
	return does, does && slices.ContainsFunc(rules, func(r passage) bool { return r.all() })
}

// requirement is what a selector wants of one label.
type requirement struct {
	Key      string   `yaml:"key"`
	Operator string   `yaml:"operator"`
	Values   []string `yaml:"values"`
}

// fits tells whether labels are as it wants them.
func (r *requirement) fits(labels map[string]string) bool {
	value, is := labels[r.Key]
	switch r.Operator {
	case "In":
		return is && slices.Contains(r.Values, value)
	case "NotIn":
		return !is || !slices.Contains(r.Values, value)
	case "Exists":
		return is
	case "DoesNotExist":
		return !is
	}
	return false
}

type container struct {
	Name      string   `yaml:"name"`
	Image     string   `yaml:"image"`
	Command   []string `yaml:"command"`
	Args      []string `yaml:"args"`
	Liveness  *probe   `yaml:"livenessProbe"`
	Readiness *probe   `yaml:"readinessProbe"`
	Resources struct {
		Limits   map[string]any `yaml:"limits"`
		Requests map[string]any `yaml:"requests"`
	} `yaml:"resources"`
}

type probe struct {
	HTTPGet *struct {
		Path string `yaml:"path"`
	} `yaml:"httpGet"`
	Exec *struct {
		Command []string `yaml:"command"`
	} `yaml:"exec"`
}

// asks tells what a probe asks.
func (p *probe) asks() string {
	switch {
	case p == nil:
		return ""
	case p.HTTPGet != nil:
		return p.HTTPGet.Path
	case p.Exec != nil:
		return strings.Join(p.Exec.Command, " ")
	}
	return "a port"
}

// name is kind and name.
func (o *object) name() string { return o.Kind + " " + o.Metadata.Name }

// readManifests reads a file, or all of a folder.
func readManifests(path string) (*manifests, error) {
	var all []object
	seen := 0
	err := filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if ext := filepath.Ext(name); name != path && ext != ".yaml" && ext != ".yml" && ext != ".json" {
			return nil
		}
		if seen++; seen > manifestsMost {
			return fmt.Errorf("more than %d files", manifestsMost)
		}
		some, err := objectsIn(name)
		all = append(all, some...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return pick(all), nil
}

func objectsIn(name string) (all []object, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, manifestMost))
	if err != nil {
		return nil, err
	}
	loader, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	for {
		var o object
		switch err := loader.Load(&o); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("%s is no manifest; render templates first: %w", name, err)
		}
		all = append(all, o)
	}
}

// pick finds the workload of the gateway, and what goes with it.
func pick(all []object) *manifests {
	m := &manifests{}
	for i := range all {
		o := &all[i]
		if !slices.Contains([]string{"Deployment", "StatefulSet", "DaemonSet"}, o.Kind) || m.workload != nil {
			continue
		}
		for j := range o.Spec.Template.Spec.Containers {
			if c := &o.Spec.Template.Spec.Containers[j]; c.serves() {
				m.workload, m.container = o, c
			}
		}
	}
	if m.workload == nil {
		return m
	}
	m.replicas = replicasOf(m.workload, all)
	for i := range all {
		if o := &all[i]; o.Kind == "NetworkPolicy" && o.with(m.workload) && o.selects(m.workload.Spec.Template.Metadata.Labels) {
			m.policies = append(m.policies, o)
		}
	}
	return m
}

// replicasOf is how many replicas a workload has at least: an autoscaler of it stands over what it says itself.
func replicasOf(w *object, all []object) int {
	n := w.Spec.Replicas
	for i := range all {
		if o := &all[i]; o.Kind == "HorizontalPodAutoscaler" && o.Spec.ScaleTarget.Kind == w.Kind && o.Spec.ScaleTarget.Name == w.Metadata.Name {
			n = o.Spec.MinReplicas
		}
	}
	switch {
	case w.Kind == "DaemonSet":
		return 0
	case n == nil:
		return 1
	}
	return *n
}

// serves tells whether the container is the gateway.
func (c *container) serves() bool {
	words := slices.Concat([]string{c.Name, c.Image}, c.Command, c.Args)
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(w, "toolcrib") })
}

// selects tells whether pods with such labels are among those that a NetworkPolicy is for; an empty selector fits all.
func (o *object) selects(labels map[string]string) bool {
	for name, value := range o.Spec.PodSelector.MatchLabels {
		if labels[name] != value {
			return false
		}
	}
	for i := range o.Spec.PodSelector.MatchExpressions {
		if !o.Spec.PodSelector.MatchExpressions[i].fits(labels) {
			return false
		}
	}
	return true
}

// manifests reads those that are named, once.
func (o *Options) manifests() func() (*manifests, error) {
	if o.deployed == nil {
		path := o.Manifests
		o.deployed = sync.OnceValues(func() (*manifests, error) {
			if path == "" {
				return nil, errors.New("--manifests names none")
			}
			m, err := readManifests(path)
			if err == nil && m.workload == nil {
				return nil, fmt.Errorf("%s holds no workload with toolcrib in it", path)
			}
			return m, err
		})
	}
	return o.deployed
}

// grace is how long the pod has to end, and where that is said; 0 where it is not known.
func (p *patient) grace() (time.Duration, string) {
	m, err := p.deployed()
	if err != nil {
		return 0, ""
	}
	if g := m.workload.Spec.Template.Spec.Grace; g != nil {
		return time.Duration(*g) * time.Second, m.workload.name()
	}
	return podGrace, m.workload.name()
}

func wholeSeconds(d time.Duration) string {
	return strconv.Itoa(int(d.Round(time.Second) / time.Second))
}
