package durable

import "io/fs"

// openCareful: Windows has no such flags. What is opened is looked at before and after.
const openCareful = 0

// isOthers and hasOtherNames find nothing wrong: who may write to a directory is the only rule here.
func isOthers(fs.FileInfo) bool { return false }

func hasOtherNames(fs.FileInfo) bool { return false }
