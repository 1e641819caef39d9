package inline

import "regexp"

// variables are those of the environment whose values a program runs as code, or may.
var variables = []struct {
	name    *regexp.Regexp
	value   *regexp.Regexp // nil: any value is code
	program string
}{
	{regexp.MustCompile(`(?i)^npm_config_(call|script[-_]shell)$`), nil, "npx"},
	{regexp.MustCompile(`(?i)^(npm_config_node[-_]options|NODE_OPTIONS)$`), regexp.MustCompile(`data:`), "node"},
	{regexp.MustCompile(`^BUN_OPTIONS$`), regexp.MustCompile(`(^|\s)(-e|-p|--eval|--print)|data:`), "bun"},
	{regexp.MustCompile(`^BASH_FUNC_`), nil, "bash"},
	{regexp.MustCompile(`^(BASH_ENV|ENV|PS4)$`), regexp.MustCompile("\\$\\(|`"), "bash"}, // which is expanded
	{regexp.MustCompile(`^PYTHONINSPECT$`), regexp.MustCompile(`.`), "python"},           // as -i
	{regexp.MustCompile(`^PERL5OPT$`), regexp.MustCompile(`[^A-Za-z0-9_:=, -]|-d`), "perl"},
	{regexp.MustCompile(`^PERL5DB$`), nil, "perl"},
	{regexp.MustCompile(`^LUA_INIT`), regexp.MustCompile(`^[^@]`), "lua"},
	{regexp.MustCompile(`^(ERL_[AZ]?FLAGS|ELIXIR_ERL_OPTIONS)$`), regexp.MustCompile(`-eval`), "elixir"},
	{regexp.MustCompile(`^(GNU)?MAKEFLAGS$`), regexp.MustCompile(`eval`), "make"},
}

// Variable tells which program runs the value of an environment variable as code.
func Variable(name, value string) (program string, ok bool) {
	for _, v := range variables {
		if v.name.MatchString(name) && (v.value == nil || v.value.MatchString(value) || v.value.MatchString(url(value))) {
			return v.program, true
		}
	}
	return "", false
}
