//go:build !race

package real_test

// herd is how many servers run behind one gateway that is killed.
const herd = 50
