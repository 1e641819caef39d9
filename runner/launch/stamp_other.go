//go:build !linux

package launch

import (
	"fmt"
	"io/fs"
)

// stamp changes with a file, unless someone sets its time back.
func stamp(info fs.FileInfo) string {
	return fmt.Sprintf("%d %d %o", info.Size(), info.ModTime().UnixNano(), info.Mode())
}
