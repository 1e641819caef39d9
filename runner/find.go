package runner

// Find returns the program that Start would start for c, or why it would not, with a remedy.
func (c Command) Find() (string, error) { return c.resolve() }

// Check tells why Start could not start c with these options, as far as that can be known without starting anything: the
// command, its working directory, its user, and what it is to be limited and confined to.
func (c Command) Check(o Options) error {
	path, err := c.resolve()
	if err != nil {
		return err
	}
	place, err := settle(&c, path, o.withDefaults())
	if err != nil {
		return err
	}
	return place.leave()
}
