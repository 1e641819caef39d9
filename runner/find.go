package runner

// Find returns the program that Start would start for c, or why it would not, with a remedy.
func (c Command) Find() (string, error) { return c.resolve() }
