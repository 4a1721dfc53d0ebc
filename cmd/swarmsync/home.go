package main

import (
	"os"
	"path/filepath"
	"runtime"
)

// defaultHome returns the place of the home in the platform's data directory, empty if the platform does not tell.
func defaultHome() string {
	const name = "swarmsync"
	if runtime.GOOS == "windows" {
		if dir := os.Getenv("LocalAppData"); dir != "" {
			return filepath.Join(dir, name)
		}
		return ""
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) && runtime.GOOS != "darwin" {
		return filepath.Join(dir, name)
	}
	user, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	if runtime.GOOS == "darwin" {
		return filepath.Join(user, "Library", "Application Support", name)
	}
	return filepath.Join(user, ".local", "share", name)
}
