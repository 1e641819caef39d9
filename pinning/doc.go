// Package pinning tells whether the definition of a tool is the one that was approved: what a model is told of a tool is as
// good as code, and a server can change it after it was reviewed.
//
//	lock file ─► Book ─► Check(server, tool, raw definition) ─► Same, Changed or New
//
// A definition is everything that a server lists of a tool, in one canonical form, so that neither the order of keys nor white
// space count, but every character of every text does.
package pinning
