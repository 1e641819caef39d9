// Package cli is the command line of Toolcrib: the tree of commands, their
// help, how their results are shown, and the exit codes.
//
// A command is a struct whose fields are its flags and arguments and whose Run
// does the work; the tree is read off the structs, and so is docs/cli.md.
package cli
