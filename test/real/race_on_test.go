//go:build race

package real_test

// herd is how many servers run behind one gateway that is killed: fewer beside all other tests, which the starts would starve.
const herd = 8
