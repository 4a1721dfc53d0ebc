package main

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// hardware is the name of the processor and the size of the memory in bytes.
func hardware() (processor string, memory int64) {
	content, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		_, rest, _ := strings.Cut(string(content), "model name")
		line, _, _ := strings.Cut(rest, "\n")
		processor = strings.Trim(line, " \t:")
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		memory = int64(info.Totalram) * int64(info.Unit)
	}
	return processor, memory
}
