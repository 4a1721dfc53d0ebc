//go:build !linux

package disk

import "os"

// timesTell implements userFile: of other systems it is not known.
func timesTell(*os.File) bool { return false }

func eachLookTells() bool { return false }

// holeAt implements userFile: holes are read there.
func holeAt(*os.File, int64, int64) int64 { return 0 }
