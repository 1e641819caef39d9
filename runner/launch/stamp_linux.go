package launch

import (
	"fmt"
	"io/fs"
	"syscall"
)

// stamp changes whenever a file does: the time of the last change of its inode cannot be set back.
func stamp(info fs.FileInfo) string {
	s := fmt.Sprintf("%d %d %o", info.Size(), info.ModTime().UnixNano(), info.Mode())
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s += fmt.Sprintf(" %d %d %d", st.Ino, st.Ctim.Sec, st.Ctim.Nsec)
	}
	return s
}
