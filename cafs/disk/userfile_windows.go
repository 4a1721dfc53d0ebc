package disk

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

func openUserFile(path string, written bool) (*os.File, error) {
	access := uint32(windows.GENERIC_READ)
	if written {
		access |= windows.GENERIC_WRITE // to sync takes the right to write
	}
	return openHandle(path, access)
}

// openHandle opens a file so that others may write, rename and remove it meanwhile, and a link rather than what it
// leads to.
func openHandle(path string, access uint32) (*os.File, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	const share = windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE | windows.FILE_SHARE_DELETE
	const flags = windows.FILE_FLAG_OPEN_REPARSE_POINT | windows.FILE_FLAG_BACKUP_SEMANTICS
	handle, err := windows.CreateFile(name, access, share, nil, windows.OPEN_EXISTING, flags, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(handle), path), nil
}

// basicInfo is what the system calls FILE_BASIC_INFO.
type basicInfo struct {
	creation, access, write, change windows.Filetime
	attributes                      uint32
	_                               uint32
}

func identify(f *os.File) (identity, error) {
	handle := windows.Handle(f.Fd())
	if kind, err := windows.GetFileType(handle); err != nil || kind != windows.FILE_TYPE_DISK {
		return identity{}, &os.PathError{Op: "stat", Path: f.Name(), Err: errors.Join(errNotRegular, err)}
	}
	var info windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(handle, &info); err != nil {
		return identity{}, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	const irregular = windows.FILE_ATTRIBUTE_DIRECTORY | windows.FILE_ATTRIBUTE_REPARSE_POINT
	if info.FileAttributes&irregular != 0 {
		return identity{}, &os.PathError{Op: "stat", Path: f.Name(), Err: errNotRegular}
	}
	var basic basicInfo
	err := windows.GetFileInformationByHandleEx(handle, windows.FileBasicInfo,
		(*byte)(unsafe.Pointer(&basic)), uint32(unsafe.Sizeof(basic)))
	if err != nil {
		return identity{}, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return identity{
		device: uint64(info.VolumeSerialNumber),
		inode:  uint64(info.FileIndexHigh)<<32 | uint64(info.FileIndexLow),
		size:   int64(info.FileSizeHigh)<<32 | int64(info.FileSizeLow),
		mtime:  basic.write.Nanoseconds(),
		ctime:  basic.change.Nanoseconds(),
	}, nil
}

func identifyPath(path string) (identity, error) {
	f, err := openHandle(path, 0)
	if err != nil {
		return identity{}, err
	}
	id, err := identify(f)
	_ = f.Close() // nothing was written
	return id, err
}

// isNoFile knows the errors of opening what is no file.
func isNoFile(err error) bool {
	return errors.Is(err, windows.ERROR_DIRECTORY) || errors.Is(err, windows.ERROR_INVALID_NAME) ||
		errors.Is(err, windows.ERROR_CANT_ACCESS_FILE)
}

// identifyDirectory fails: trees are copied here.
func identifyDirectory(path string) (identity, error) {
	return identity{}, &os.PathError{Op: "identify", Path: path, Err: errors.ErrUnsupported}
}
