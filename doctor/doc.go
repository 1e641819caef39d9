// Package doctor examines an installation and says what to mend.
//
// All of what it looks at is one table, in table.go: a check has a name, what it looks at, a bound in time and a function that
// notes what it found. Checks run at the same time and are told of in the order of the table. A check changes nothing, but
// for a key in Redis that ends after a second; a server that is a command is started for the occasion, and ended again.
//
//	Examine → patient (what is known of the installation: configuration, state directory, files it refers to)
//	        → each check of the table → notes → findings, without secrets → in order
package doctor
