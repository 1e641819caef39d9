// Package inline finds code on command lines: what interpreters (sh -c, python -c, node -e) and launchers
// (npx -c) are given to run by argument, or read from their standard input, also behind programs that only
// start another (env, timeout, docker run).
//
// It knows the usual programs, not all there are. Where an argument can be read in two ways, it is taken for
// code. Whoever must be sure lists what may be started (launch.templates).
package inline
