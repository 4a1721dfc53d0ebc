package node

import (
	"fmt"
	"testing"

	"github.com/swarmsync/swarmsync/cafs"
)

func TestCloneRuns(t *testing.T) {
	const size = 40_000
	row := cafs.RangeChunks{Offset: 1<<20 + 100, Chunks: make([]cafs.ChunkInfo, 6)}
	for i := range row.Chunks {
		row.Chunks[i].Size = size
	}
	at := func(path string, shift int64, from, n int) []cafs.Location {
		locations := make([]cafs.Location, len(row.Chunks))
		for i := from; i < from+n; i++ {
			locations[i] = cafs.Location{Path: path, Offset: row.Offset + int64(i)*size + shift}
		}
		return locations
	}
	both := at("a", 0, 0, 3)
	copy(both[3:], at("b", 0, 3, 3)[3:])
	jump := at("a", 0, 0, 3)
	copy(jump[3:], at("a", cloneBlock, 3, 3)[3:])
	tests := []struct {
		name      string
		locations []cafs.Location
		want      string // path, chunks and shift of the runs
	}{
		{"nowhere", make([]cafs.Location, 6), "[]"},
		{"at the same place", at("a", 0, 0, 6), "[a 0-5 +0]"},
		{"whole blocks away", at("a", 7*cloneBlock, 0, 6), "[a 0-5 +28672]"},
		{"part of a block away", at("a", 100, 0, 6), "[]"},
		{"in the middle", at("a", 0, 2, 2), "[a 2-3 +0]"},
		{"too little", at("a", 0, 2, 1), "[]"},
		{"in two files", both, "[a 0-2 +0 b 3-5 +0]"},
		{"with a jump", jump, "[a 0-2 +0 a 3-5 +4096]"},
	}
	for _, test := range tests {
		var got []string
		for _, run := range cloneRuns(row, test.locations) {
			got = append(got, fmt.Sprintf("%s %d-%d %+d", run.path, run.first, run.last, run.from-run.to))
			if first := row.Offset + int64(run.first)*size; run.to != first || run.size != int64(run.last-run.first+1)*size {
				t.Errorf("%s: run %+v", test.name, run)
			}
		}
		if fmt.Sprint(got) != test.want {
			t.Errorf("%s: runs %v, want %s", test.name, got, test.want)
		}
	}
}
