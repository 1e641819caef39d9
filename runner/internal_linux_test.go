package runner

func withoutPidfd(c child, drop bool) child {
	if drop && c.fd != nil {
		_ = c.fd.Close()
		c.fd = nil
	}
	return c
}
