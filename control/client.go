package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

const (
	reportTime = 10 * time.Second
	reportMost = 64 << 20
)

// Client looks into one gateway.
type Client struct {
	// Report is what it told when it was found.
	Report *Report

	dir  *socketDir
	http *http.Client
}

// UnknownServer says that a gateway has no server of that name that prints.
type UnknownServer struct {
	Name    string
	Servers []string // that it has
}

// Error implements error.
func (e *UnknownServer) Error() string { return fmt.Sprintf("no server %q", e.Name) }

// Find returns a client for each gateway that runs with stateDir, the oldest first. They are to be closed. None runs where
// there is no error and no client.
func Find(ctx context.Context, stateDir string) ([]*Client, error) {
	d, err := openDir(stateDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.close()
	names, err := d.names()
	if err != nil {
		return nil, err
	}
	var all []*Client
	var failed error
	for _, name := range names {
		c, err := connect(ctx, stateDir, name)
		switch {
		case err == nil:
			all = append(all, c)
		case !d.dead(ctx, name):
			failed = fmt.Errorf("%s does not answer: %w", name, err)
		}
	}
	if len(all) == 0 {
		return nil, failed
	}
	slices.SortFunc(all, func(a, b *Client) int { return a.Report.Started.Compare(b.Report.Started) })
	return all, nil
}

func connect(ctx context.Context, stateDir, name string) (*Client, error) {
	d, err := openDir(stateDir)
	if err != nil {
		return nil, err
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return d.dial(ctx, name) }
	c := &Client{dir: d, http: &http.Client{Transport: &http.Transport{DialContext: dial, ResponseHeaderTimeout: reportTime}}}
	if c.Report, err = c.report(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close lets go of the gateway.
func (c *Client) Close() {
	c.http.CloseIdleConnections()
	c.dir.close()
}

func (c *Client) report(ctx context.Context) (*Report, error) {
	ctx, cancel := context.WithTimeout(ctx, reportTime)
	defer cancel()
	resp, err := c.get(ctx, "/instances")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	r := new(Report)
	if err := json.NewDecoder(io.LimitReader(resp.Body, reportMost)).Decode(r); err != nil {
		return nil, err
	}
	return r, nil
}

func (c *Client) get(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://gateway"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // its URL says nothing to anybody
	}
	return resp, err
}

// Logs yields what a server printed, beginning with the last lines, and, when follow is set, what it prints until ctx ends
// or the gateway does. The last pair holds an error when it ended otherwise; an [*UnknownServer] when there is none such.
func (c *Client) Logs(ctx context.Context, server string, last int, follow bool) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		path := "/servers/" + url.PathEscape(server) + "/logs?lines=" + strconv.Itoa(last)
		if follow {
			path += "&follow=1"
		}
		resp, err := c.get(ctx, path)
		if err != nil {
			yield(Line{}, err)
			return
		}
		defer resp.Body.Close()
		if err := refused(resp, server); err != nil {
			yield(Line{}, err)
			return
		}
		dec := json.NewDecoder(bufio.NewReader(resp.Body))
		for {
			var line Line
			switch err := dec.Decode(&line); {
			case err == io.EOF || ctx.Err() != nil:
				return
			case err != nil:
				yield(Line{}, fmt.Errorf("the gateway ended: %w", err))
				return
			case !yield(line, nil):
				return
			}
		}
	}
}

func refused(resp *http.Response, server string) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	var r refusal
	_ = json.NewDecoder(io.LimitReader(resp.Body, reportMost)).Decode(&r)
	if resp.StatusCode == http.StatusNotFound {
		return &UnknownServer{Name: server, Servers: r.Servers}
	}
	return fmt.Errorf("the gateway refuses (HTTP %d): %s", resp.StatusCode, r.Error)
}
