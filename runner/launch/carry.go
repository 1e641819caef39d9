package launch

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"
)

// carry copies the data that servers wrote beside a package into another folder for it, and returns their paths. What
// that folder has stays, and so does, in the old one, what the package came with. Links are not followed.
func carry(from, to string, shipped map[string]string) ([]string, error) {
	in, err := os.OpenRoot(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer in.Close()
	out, err := os.OpenRoot(to)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	var carried []string
	err = walk(from, func(path string, info fs.FileInfo) error {
		if _, known := shipped[path]; known || !isData(path, info) {
			return nil
		}
		done, err := carryFile(in, out, filepath.FromSlash(path))
		if done {
			carried = append(carried, path)
		}
		return err
	})
	return carried, err
}

// carryFile copies one file, with its rights and owner, unless there is one already.
func carryFile(in, out *os.Root, name string) (done bool, err error) {
	if _, err := out.Lstat(name); err == nil {
		return false, nil
	}
	src, err := in.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false, err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return false, err
	}
	if err := carryFolders(in, out, filepath.ToSlash(filepath.Dir(name))); err != nil {
		return false, err
	}
	dst, err := out.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false, err
	}
	_, err = io.Copy(dst, src)
	own(dst.Chown, info)
	err = errors.Join(err, dst.Chmod(info.Mode().Perm()), dst.Sync(), dst.Close())
	if err != nil {
		return false, errors.Join(err, out.Remove(name)) // so that no half of it is taken for the whole
	}
	return true, nil
}

// carryFolders makes the folders of a file as they were.
func carryFolders(in, out *os.Root, dir string) error {
	if _, err := out.Stat(dir); err == nil {
		return nil
	}
	if err := carryFolders(in, out, path.Dir(dir)); err != nil {
		return err
	}
	info, err := in.Stat(dir)
	if err != nil {
		return err
	}
	if err := out.Mkdir(dir, info.Mode().Perm()); err != nil {
		return err
	}
	own(func(uid, gid int) error { return out.Lchown(dir, uid, gid) }, info)
	return out.Chmod(dir, info.Mode().Perm())
}

// own gives what was copied to its owner, which only root can do: others run servers as themselves.
func own(chown func(uid, gid int) error, info fs.FileInfo) {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		_ = chown(int(s.Uid), int(s.Gid))
	}
}
