package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/toolcrib/toolcrib/control"
	"github.com/toolcrib/toolcrib/telemetry/alerts"
)

// scraped wants that a Prometheus has metrics of a gateway.
func scraped(ctx context.Context, p *patient, n *notes) {
	p.each(ctx, func(r *control.Report) {
		if body, status, err := p.ask(ctx, r.URL, "/metrics"); err == nil && status == http.StatusOK {
			n.pass(r.URL, "/metrics answers, %d lines", strings.Count(string(body), "\n"))
		}
	})
	if p.o.Prometheus == "" {
		n.skip("", "--prometheus names none")
		return
	}
	const metric = "toolcrib_build_info"
	var data struct {
		Result []json.RawMessage `json:"result"`
	}
	err := p.prometheus(ctx, "query?query="+metric, &data)
	switch {
	case err != nil:
		n.fail(place(p.o.Prometheus), "start it, or correct --prometheus", "%v", err)
	case len(data.Result) == 0:
		n.fail(place(p.o.Prometheus), "have it scrape /metrics of each replica", "it has no %s: it scrapes no gateway", metric)
	default:
		n.pass(place(p.o.Prometheus), "it scrapes %s", count(len(data.Result), "replica"))
	}
}

// rule is an alert that a Prometheus has loaded.
type rule struct {
	Name        string            `json:"name"`
	Type        string            `json:"type"`
	Health      string            `json:"health"`
	LastError   string            `json:"lastError"`
	Annotations map[string]string `json:"annotations"`
}

// broken is the health of a rule that cannot be evaluated.
const broken = "err"

// loaded are the alerts that the Prometheus has.
func (p *patient) loaded(ctx context.Context) (map[string]rule, error) {
	var data struct {
		Groups []struct {
			Rules []rule `json:"rules"`
		} `json:"groups"`
	}
	if err := p.prometheus(ctx, "rules?type=alert", &data); err != nil {
		return nil, err
	}
	all := map[string]rule{}
	for _, g := range data.Groups {
		for _, r := range g.Rules {
			if was := all[r.Name]; was.Health != broken { // an alert may be several rules
				all[r.Name] = r
			}
		}
	}
	return all, nil
}

// rules are the alerts that are loaded; nil where they are not to be had, which is noted.
func (p *patient) rules(ctx context.Context, n *notes) map[string]rule {
	if p.o.Prometheus == "" {
		n.skip("", "--prometheus names none")
		return nil
	}
	all, err := p.loaded(ctx)
	if err != nil {
		n.fail(place(p.o.Prometheus), "start it, or correct --prometheus", "%v", err)
		return nil
	}
	return all
}

// alerting wants the alerts of this program in the Prometheus.
func alerting(ctx context.Context, p *patient, n *notes) {
	all := p.rules(ctx, n)
	if all == nil {
		return
	}
	var lacks []string
	for _, name := range alerts.Names() {
		switch r, there := all[name]; {
		case !there:
			lacks = append(lacks, name)
		case r.Health == broken:
			n.fail(name, "make the rules anew with toolcrib alerts", "cannot be evaluated: %s", r.LastError)
		}
	}
	switch {
	case len(lacks) == len(alerts.Names()):
		n.fail(place(p.o.Prometheus), "load the rules that toolcrib alerts prints: rule_files of prometheus.yml", "no alert of toolcrib is loaded")
	case len(lacks) > 0: // values may switch some off
		n.warn(place(p.o.Prometheus), "load the rules that toolcrib alerts prints, unless they are switched off on purpose",
			"%d of %d alerts are not loaded: %s", len(lacks), len(alerts.Names()), strings.Join(lacks, ", "))
	}
	if n.well() {
		n.pass(place(p.o.Prometheus), "all %d alerts are loaded", len(alerts.Names()))
	}
}

// runbooks wants that each alert that is loaded says what to do.
func runbooks(ctx context.Context, p *patient, n *notes) {
	all := p.rules(ctx, n)
	if all == nil {
		return
	}
	var lacks []string
	some := 0
	for _, name := range alerts.Names() {
		r, there := all[name]
		if !there {
			continue // which alerts tells
		}
		if some++; r.Annotations["runbook_url"] == "" {
			lacks = append(lacks, name)
		}
	}
	slices.Sort(lacks)
	switch {
	case some == 0:
		n.skip("", "no alert is loaded")
	case len(lacks) > 0:
		n.fail("", "make the rules anew with toolcrib alerts", "no runbook_url: %s", strings.Join(lacks, ", "))
	default:
		n.pass("", "%s, each with a runbook", count(some, "alert"))
	}
}

// prometheus asks the HTTP interface of the Prometheus.
func (p *patient) prometheus(ctx context.Context, path string, data any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(p.o.Prometheus, "/")+"/api/v1/"+path, http.NoBody)
	if err != nil {
		return errors.New("the address of Prometheus is not a URL")
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerMost))
	if err != nil {
		return err
	}
	answer := struct {
		Status string `json:"status"`
		Data   any    `json:"data"`
	}{Data: data}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Status != "success" {
		return fmt.Errorf("what answers there (HTTP %d) is no Prometheus", resp.StatusCode)
	}
	return nil
}
