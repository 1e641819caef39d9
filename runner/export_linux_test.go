package runner

// WithoutControlGroups has the program do without control groups, until what it returns is called. No
// process may run then.
func WithoutControlGroups() (restore func()) {
	homes.mu.Lock()
	defer homes.mu.Unlock()
	if homes.held > 0 {
		panic("there are processes")
	}
	old := homes.tree
	if old == nil {
		old = newTree()
	}
	homes.tree = &tree{bases: map[string]string{}, limits: map[string]error{}}
	return func() {
		homes.mu.Lock()
		defer homes.mu.Unlock()
		homes.tree = old
	}
}

// HasControlGroups reports whether the program may make control groups here, which have this controller.
func HasControlGroups(controller string) bool {
	t := newTree()
	_, one := t.all[controller]
	_, two := t.all[""]
	return one || two && (controller == "" || t.controls(controller) == nil)
}
