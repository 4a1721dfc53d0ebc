//go:build !linux

package main

import "runtime"

// hardware is what is known without asking the system.
func hardware() (processor string, memory int64) { return runtime.GOARCH, 0 }
