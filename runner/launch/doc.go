// Package launch decides what is started for a server: its command as it stands, or the program of a package
// that was pulled, and whether that was approved.
//
//	toolcrib pull      reference ──► exact version ──► stateDir/packages ──► lock file
//	toolcrib approve   launch hash ──────────────────────────────────────► lock file
//	start              lock file ──► approved? tree unchanged? ──► Program
//
// The lock file stands beside the configuration and is meant to be committed: it names the exact version of
// each package, what its registry says it contains, and a digest over what was installed on each platform. A
// start compares the installed files with that digest and needs no network. What was never pulled is left to
// its launcher (npx, uvx, go run), which fetches whatever there is at the time.
//
// The check finds changes made since the pull. It cannot stop someone who may write to the state directory from
// changing a file between the check and the start.
package launch
